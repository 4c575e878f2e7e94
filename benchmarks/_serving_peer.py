"""llama.cpp beside Sirocco as a server, with random weights of one shape: the scenario `peer`.

The peer is the server of llama-cpp-python with flash attention. It answers one request at a time
and lets the others wait. Both servers hold their model and take turns: peer, Sirocco, Sirocco,
peer, … Neither guesses tokens ahead, both choose the likeliest. Prompts have the same number of
tokens, but for the space that the peer puts in front: both vocabularies know only bytes and
numbered words. Tokens are those that came: Sirocco counts them itself; the peer does not, and an
answer that ended by its length has as many as were asked for, another one as many as its events.
"""

import argparse
import os
import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import tokenizers
from _bounds import Work
from _child import Child
from _quiet import wait_for_quiet
from _scenarios import Check, Outcome, Plan, Row, Site, Subject, tell
from _server import Home, Server, running
from _workload import Lengths, Request, fixed, prompt
from vs_llama_cpp import Pair, prepared_peer, runs

from sirocco.model.presets import preset

PRESET, WEIGHTS = "tinyllama-1.1b", "q4"
MODEL = f"@bench/{PRESET}"
SERVER_PACKAGES = (
    "fastapi", "uvicorn", "sse-starlette", "starlette-context", "pydantic-settings", "PyYAML"
)  # fmt: skip
PROMPT_WORDS = 25
CONTEXT = 1024
TURN_LIMIT_S = 600.0


def peer(options: argparse.Namespace, plan: Plan, home: Home, crowd: Child) -> Outcome:
    """Let both answer the same number of streams, in turns."""
    python = prepared_server(options.peer_env)
    (options.cache / "logs").mkdir(parents=True, exist_ok=True)
    pair = pair_of(options, python)
    gguf = pair.gguf()
    folder = servable(pair.checkpoint(), home.folder / "checkpoint")
    rows: dict[str, list[Row]] = {"llama.cpp": [], "sirocco": []}
    with (
        serving_peer(python, gguf, options) as theirs,
        home.serving(
            "--model", f"{MODEL}={folder}", threads=options.threads, n_guesses=0,
            max_seq_len=CONTEXT,
        ) as ours,
    ):  # fmt: skip
        account = home.new_account("peer")
        sites = {
            "llama.cpp": Site(theirs, crowd, {"all": theirs.target("/v1/completions")}),
            "sirocco": Site(ours, crowd, {"all": account.target(ours, MODEL)}),
        }
        for name, site in sites.items():
            tell(f"{name}: warming up")
            turn(site, asked(plan, f"warm {name}", 2, 4))
        for number in range(options.runs):
            for name in list(sites)[:: -1 if number % 2 else 1]:
                wait_for_quiet(options.patience)
                tell(f"round {number + 1}: {plan.n_streams} streams, {name}")
                requests = asked(plan, f"{number} {name}", plan.n_streams, options.tokens)
                taken = turn(sites[name], requests)
                rows[name].append(taken.row(f"{name}, round {number + 1}", plan))
    return Outcome([*rows["llama.cpp"], *rows["sirocco"]], list(ratios(rows)))


def pair_of(options: argparse.Namespace, peer_python: Path | None) -> Pair:
    """Make the shape's files, or find them in the cache."""
    options.checkpoint = None
    return Pair(options, Work(preset(PRESET), WEIGHTS), PRESET, peer_python)


def large_subject(options: argparse.Namespace, home: Home) -> Subject:
    """Serve the same shape to the other scenarios; a letter of its prompts is a token."""
    folder = servable(pair_of(options, None).checkpoint(), home.folder / "large")
    serve = ("--model", f"{MODEL}={folder}", "--threads", str(options.threads))
    return Subject(MODEL, serve, 16, 2, Lengths(median=8, sigma=0.8, most=40))


def turn(site: Site, requests: list[Request]) -> Any:
    """Send all at once and wait for all."""
    return site.send(
        "closed_loop", requests=requests, n_streams=len(requests), seconds=0.0,
        limit_s=TURN_LIMIT_S,
    )  # fmt: skip


def asked(plan: Plan, name: str, n: int, n_tokens: int) -> list[Request]:
    """Draw prompts of about one length that share no beginning."""
    rng = random.Random(f"{plan.seed} {name}")  # noqa: S311 - nothing secret
    return [fixed("all", prompt(rng, PROMPT_WORDS), n_tokens) for _ in range(n)]


def ratios(rows: dict[str, list[Row]]) -> Iterator[Check]:
    """Compare round with round: their middle is what an hour's noise disturbs least."""
    theirs, ours = rows["llama.cpp"], rows["sirocco"]
    pairs = list(zip(ours, theirs, strict=True))
    faster = median(a["tokens_per_s"] / b["tokens_per_s"] for a, b in pairs)
    yield Check("tokens/s, Sirocco / llama.cpp", faster, "x")
    for name in ("p50", "p95"):
        ratio = median(a["ttft_ms"][name] / b["ttft_ms"][name] for a, b in pairs)
        yield Check(f"TTFT {name}, Sirocco / llama.cpp", ratio, "x")
    for name, of_one in rows.items():
        yield Check(f"{name}, tokens/s", median(row["tokens_per_s"] for row in of_one))


def prepared_server(folder: Path) -> Path:
    """Return the Python of the peer's environment, with what its server needs besides."""
    python = prepared_peer(folder)
    if not runs([python, "-c", "import llama_cpp.server.app"]):
        tell("installing what the peer's server needs")
        install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", *SERVER_PACKAGES]
        subprocess.run(install, check=True)
    return python


@contextmanager
def serving_peer(python: Path, gguf: Path, options: argparse.Namespace) -> Iterator[Server]:
    """Start the peer's server; without `interrupt_requests` a new request would end the last."""
    port = free_port()
    command = [
        str(python), "-m", "llama_cpp.server", "--model", str(gguf), "--host", "127.0.0.1",
        "--port", str(port), "--n_ctx", str(CONTEXT), "--n_threads", str(options.threads),
        "--n_threads_batch", str(options.threads), "--flash_attn", "true",
        "--interrupt_requests", "false",
    ]  # fmt: skip
    log = options.cache / "logs" / "peer-server.log"
    with running(
        command, log, health="/v1/models", url=f"http://127.0.0.1:{port}",
        environment=dict(os.environ),
    ) as server:  # fmt: skip
        yield server


def free_port() -> int:
    """Find a port for a server that cannot say which one it took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def servable(checkpoint: Path, folder: Path) -> Path:
    """Link a checkpoint's weights, and give them the vocabulary of the peer's file."""
    folder.mkdir()
    for file in checkpoint.iterdir():
        if file.name != "tokenizer.json":
            (folder / file.name).symlink_to(file.resolve())
    special, of_bytes = ["<unk>", "<s>", "</s>"], [f"<0x{byte:02X}>" for byte in range(256)]
    n_words = preset(PRESET).vocab_size - len(special) - len(of_bytes)
    names = [*special, *of_bytes, *(f"w{i}" for i in range(n_words))]
    bpe = tokenizers.models.BPE({name: i for i, name in enumerate(names)}, [], byte_fallback=True)
    vocabulary = tokenizers.Tokenizer(bpe)
    vocabulary.decoder = tokenizers.decoders.Fuse()
    vocabulary.add_special_tokens(special)
    vocabulary.save(str(folder / "tokenizer.json"))
    return folder
