"""How fast, how large and how soon is Sirocco on this CPU, beside llama.cpp on the same one?

The peer is PyPI's llama-cpp-python, built here for this processor on first use, in an environment
of its own. It reads a GGUF file of the same shape with random weights, Q4_0 against q4 and Q8_0
against q8, so both engines read the same number of bits. Both live in processes of their own at
the same time and take turns (peer, Sirocco, Sirocco, peer, …): a row's rounds lie within minutes,
and its ratio is the median of the rounds' ratios. The peer takes its turns with and without flash
attention, and the better one counts. A turn waits for a quiet moment and is repeated if others
used the processors meanwhile: threads that spin, as the peer's do, lose most by company.

Beside each row stands the bound. Decode reads all matrices and the keys and values (float16) once
per step, at the rate at which torch sums 1 GiB between this row's turns (the median: a shared
machine's memory is twice as fast in one minute as in another), or multiplies with the matrices, if
that takes longer. Prefill multiplies: two operations per weight and token, and the causal half of
attention. Multiplying is counted at the fastest rate at which torch multiplied large matrices in
this run, be it float32, bfloat16 or int8; a kernel may beat torch, and then this bound as well.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from _bounds import Machine, Work
from _child import Child
from _quiet import QUIET, busy_cpu_s, wait_for_quiet
from _report import arguments, finish
from _weights import checkpoint
from platformdirs import user_cache_path

from sirocco.model.presets import preset

HERE = Path(__file__).parent
PEER_PACKAGES = ("llama-cpp-python==0.3.36", "gguf==0.19.0")
PEER_CXX_FLAGS = "-fno-tree-dse -fno-dse"
"""Without them GCC 12 leaves out most of the tile configuration that llama.cpp stores for AMX, as
its own header tells it that eight bytes are read; the peer then dies in its first product. AMX is
worth 2.5 × to the peer where there is AMX."""

FULL, SHORT, N_PREFILL = 2048, 128, 512
DECODE_ROWS = ((1, SHORT), (1, FULL), (4, SHORT), (8, SHORT), (16, SHORT))
PREFILL_NAME = f"prefill, {N_PREFILL} tokens"
N_WARM = 2
N_STARTS = 3
NOISY = 0.15  # spread of a row's rounds that makes its median doubtful


Memory = dict[str, int]
"""Peaks of resident bytes: while starting, while serving."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One of those that take turns: an engine with one setting."""

    name: str
    child: Child
    flash: bool | None = None

    @property
    def is_peer(self) -> bool:
        """It is llama.cpp."""
        return self.flash is not None

    def open(self, n_sequences: int, context: int, capacity: int) -> None:
        """Read the prompts, outside of what is measured."""
        extra = {"capacity": capacity, "flash": self.flash} if self.is_peer else {}
        self.child.ask("open", name=self.name, n_sequences=n_sequences, context=context, **extra)

    def close(self) -> None:
        """Give back what `open` took."""
        self.child.ask("close", name=self.name)


@dataclass(slots=True)
class Samples:
    """What one variant reached in the rounds of one row."""

    rates: list[float] = field(default_factory=list)
    busy_elsewhere: list[float] = field(default_factory=list)
    tokens_per_step: float | None = None

    n_spare: int = 0

    def add(self, work: Callable[[], dict[str, Any]], patience_s: float) -> None:
        """Take one turn in quiet; if others disturb it, take another while some are to spare."""
        while True:
            wait_for_quiet(patience_s)
            busy = busy_cpu_s()
            taken = work()
            others = max(0.0, busy_cpu_s() - busy - taken["cpu_s"])
            elsewhere = others / taken["seconds"] / (os.cpu_count() or 1)
            if elsewhere < QUIET or self.n_spare == 0:
                break
            self.n_spare -= 1
        self.rates.append(taken["n_tokens"] / taken["seconds"])
        self.busy_elsewhere.append(elsewhere)
        self.tokens_per_step = taken.get("tokens_per_step")

    @property
    def is_noisy(self) -> bool:
        """The rounds differ, or others used the processors."""
        spread = (max(self.rates) - min(self.rates)) / median(self.rates)
        return spread > NOISY or median(self.busy_elsewhere) > QUIET

    def summary(self) -> dict[str, object]:
        """Median and range in tokens per second."""
        numbers: dict[str, object] = {
            "tokens_per_s": round(median(self.rates), 2),
            "range": [round(min(self.rates), 2), round(max(self.rates), 2)],
            "busy_elsewhere": round(median(self.busy_elsewhere), 3),
        }
        if self.tokens_per_step is not None:
            numbers["tokens_per_step"] = round(self.tokens_per_step, 2)
        return numbers


def main() -> None:
    """Build and write what is missing, take the turns, print the table and one JSON line."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    peer_python = None if options.only == "sirocco" else prepared_peer(options.peer_env)
    rows: list[dict[str, object]] = []
    for preset_name in options.preset:
        for weights in options.formats:
            pair = Pair(options, Work(preset(preset_name), weights), preset_name, peer_python)
            rows += pair.measured()
    name = "-".join(["vs-llama-cpp", *options.preset, *options.formats])
    finish(name, rows, save=options.save)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = arguments((__doc__ or "").partition("\n")[0])
    cache = user_cache_path("sirocco") / "benchmarks"
    add = parser.add_argument
    add("--preset", nargs="+", default=["tinyllama-1.1b"], help="shapes of networks")
    add("--formats", nargs="+", default=["q4", "q8"], choices=["q4", "q8"])
    add("--rounds", dest="runs", type=int, default=argparse.SUPPRESS, help="the same as --runs")
    add("--tokens", type=int, default=24, help="tokens per sequence in a turn of decode")
    add("--rows", nargs="+", default=[""], help="only those whose name holds one of these texts")
    add("--quick", action="store_true", help="2 rounds of 8 tokens")
    add("--threads", type=int, default=2, help="of either engine")
    add("--patience", type=float, default=5, help="seconds to wait for quiet before a turn")
    add("--checkpoint", type=Path, help="serve this quantised folder, not one in CACHE")
    add("--guesses", type=int, default=0, help="tokens that Sirocco may guess in a step")
    add("--only", choices=["peer", "sirocco"], help="leave the other out; no ratios then")
    add("--cache", type=Path, default=cache, help=f"for weights and logs; {cache}")
    add("--peer-env", type=Path, help="the peer's environment; CACHE/peer-env")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.tokens = 2, 8
    if options.checkpoint and len(options.preset) * len(options.formats) != 1:
        parser.error("--checkpoint goes with one --preset and one of --formats")
    if 2 * options.runs * options.tokens > FULL // 2:
        parser.error(f"--rounds times --tokens must be at most {FULL // 4}")
    options.peer_env = options.peer_env or options.cache / "peer-env"
    (options.cache / "logs").mkdir(parents=True, exist_ok=True)
    return options


def prepared_peer(folder: Path) -> Path:
    """Build the peer unless it is there; return its Python."""
    python = folder / "bin" / "python"
    if python.exists() and runs([python, "-c", "import gguf, llama_cpp"]):
        return python
    log = folder.with_suffix(".log")
    progress(f"building {PEER_PACKAGES[0]} for this processor, 10 to 20 minutes; see {log}")
    environment = {
        **os.environ, "CMAKE_ARGS": f"-DGGML_NATIVE=ON -DCMAKE_CXX_FLAGS='{PEER_CXX_FLAGS}'",
        "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
    }  # fmt: skip
    # Neither a wheel of others nor a cached one: it may be for another processor.
    install: list[str | Path] = [
        python, "-m", "pip", "install", "--verbose", "--no-cache-dir",
        "--no-binary", "llama-cpp-python", *PEER_PACKAGES,
    ]  # fmt: skip
    with log.open("w") as out:
        make: list[str | Path] = [sys.executable, "-m", "venv", folder]
        for command in (make, ["nice", *install]):
            subprocess.run(command, env=environment, stdout=out, stderr=out, check=True)
    return python


class Pair:
    """One shape in one format: the peer and Sirocco, side by side."""

    def __init__(
        self, options: argparse.Namespace, work: Work, preset_name: str, peer_python: Path | None
    ) -> None:
        self.options, self.work, self.preset_name = options, work, preset_name
        self.peer_python = peer_python
        self.machine = Machine()
        self.rows: list[dict[str, object]] = []
        self.facts: dict[str, object] = {}

    def measured(self) -> list[dict[str, object]]:
        """All rows, the first of them about the circumstances."""
        title = f"{self.preset_name}, {self.work.weights}"
        progress(f"{title}: loading")
        self.machine.measure_multiplying()
        peer, ours = self._started()
        show_title(title)
        for row in self.rows:
            show(row)
        variants = [
            *([Variant("flash", peer, True), Variant("plain", peer, False)] if peer else []),
            *([Variant("sirocco", ours)] if ours else []),
        ]
        for n_sequences, context in DECODE_ROWS:
            if self._wants(decode_name(n_sequences, context)):
                self._note(self._decode_row(variants, n_sequences, context))
        if self._wants(PREFILL_NAME):
            self._note(self._prefill_row(variants))
        for child in (peer, ours):
            if child:
                child.end()
        needs = self.work.needs
        about = {
            "row": "circumstances", **self.facts, **self.machine.summary(),
            "matrix_bytes": needs.step_bytes, "model_bytes": needs.weights_bytes,
        }  # fmt: skip
        which = {"preset": self.preset_name, "weights": self.work.weights}
        return [{**which, **row} for row in (about, *self.rows)]

    def _started(self) -> tuple[Child | None, Child | None]:
        """Start both some times in turn, keep the last ones, and note seconds and memory."""
        starts: dict[str, Callable[[], tuple[Child, float, Memory]]] = {}
        memory: dict[str, Memory] = {}
        if self.options.only != "sirocco":
            gguf = self.gguf()
            # Mapped is the peer's default, and starts sooner; unmapped takes less memory.
            unmapped, _, memory["peer"] = self._start_peer(gguf, is_mapped=False)
            unmapped.end()
            starts["peer"] = partial(self._start_peer, gguf)
        if self.options.only != "peer":
            starts["sirocco"] = partial(self._start_ours, self.checkpoint())
        taken: dict[str, list[float]] = {name: [] for name in starts}
        children: dict[str, Child] = {}
        for _ in range(N_STARTS):
            for name, start in starts.items():
                if name in children:
                    children[name].end()
                wait_for_quiet(self.options.patience)
                children[name], start_s, peaks = start()
                taken[name].append(start_s)
                memory[name] = least(memory.get(name, peaks), peaks)
        self._note_start(taken)
        for when in ("start", "serving"):
            self._note_memory(when, memory)
        return children.get("peer"), children.get("sirocco")

    def _start_peer(self, gguf: Path, *, is_mapped: bool = True) -> tuple[Child, float, Memory]:
        assert self.peer_python is not None
        n_threads, log = self.options.threads, self.options.cache / "logs" / "peer.log"
        child = Child([self.peer_python, HERE / "_peer.py"], log, n_threads=n_threads)
        self.facts["peer"] = child.ask(
            "load", model=str(gguf), n_threads=n_threads, is_mapped=is_mapped
        )
        # Room for the same tokens as Sirocco holds: the peer touches all of its room at once.
        return child, *first_tokens(child, {"capacity": N_PREFILL + 8, "flash": True})

    def _start_ours(self, checkpoint: Path) -> tuple[Child, float, Memory]:
        options, shape = self.options, self.work.shape
        log = options.cache / "logs" / "sirocco.log"
        child = Child([sys.executable, HERE / "_ours.py"], log, n_threads=options.threads)
        n_each = SHORT + N_WARM + 2 * options.runs * options.tokens + 2 * 16  # 16: a block
        n_tokens = max(FULL, max(n for n, _ in DECODE_ROWS) * n_each)
        loaded = child.ask(
            "load", checkpoint=str(checkpoint), n_threads=options.threads, max_seq_len=FULL,
            kv_cache_bytes=n_tokens * self.work.needs.kv_bytes_per_token, n_guesses=options.guesses,
        )  # fmt: skip
        served = loaded.pop("shape")
        for name in ("dim", "n_layers", "n_heads", "n_kv_heads", "hidden_dim", "vocab_size"):
            if served[name] != getattr(shape, name):
                sys.exit(f"{checkpoint} has {name} {served[name]}, unlike the preset")
        self.facts["sirocco"] = {**loaded, "n_guesses": options.guesses}
        return child, *first_tokens(child, {})

    def gguf(self) -> Path:
        """Write the peer's file unless it is there."""
        target: Path = self.options.cache / f"{self.preset_name}-{self.work.weights}.gguf"
        if not target.exists():
            progress(f"writing {target}, {self.work.needs.weights_bytes / 1e9:.1f} GB")
            assert self.peer_python is not None
            shape = json.dumps(asdict(self.work.shape))
            command: list[str | Path] = [
                self.peer_python,
                HERE / "_gguf.py",
                shape,
                self.work.weights,
                target,
            ]
            subprocess.run(command, check=True)
        return target

    def checkpoint(self) -> Path:
        """Write Sirocco's folder unless it is there or another one was named."""
        options = self.options
        if options.checkpoint:
            return Path(options.checkpoint)
        return checkpoint(
            options.cache, self.preset_name, self.work.weights, n_threads=options.threads
        )

    def _decode_row(
        self, variants: list[Variant], n_sequences: int, context: int
    ) -> dict[str, object]:
        n_all = N_WARM + 2 * self.options.runs * self.options.tokens  # as many to spare
        # The long context ends at FULL, because some models can hold no more.
        first = context if context < FULL else FULL - n_all - 2
        progress(f"decode, {n_sequences} at once, from context {first}")
        for variant in variants:
            variant.open(n_sequences, first, first + n_all + 2)
            variant.child.ask("advance", name=variant.name, n_tokens=N_WARM)
        samples, read_bytes_per_s = self._rounds(variants, "advance", self.options.tokens)
        for variant in variants:
            variant.close()
        bound = self.work.decode_bound(
            self.machine, read_bytes_per_s, n_sequences, first + n_all // 4
        )
        about = {
            "row": decode_name(n_sequences, context), "n_sequences": n_sequences,
            "from_context": first + N_WARM, "read_gb_per_s": round(read_bytes_per_s / 1e9, 2),
        }  # fmt: skip
        return {**about, **compared(samples, bound)}

    def _prefill_row(self, variants: list[Variant]) -> dict[str, object]:
        progress(PREFILL_NAME)
        for variant in variants:
            variant.open(1, N_PREFILL, N_PREFILL + 8)
        samples, _ = self._rounds(variants, "read_again", N_PREFILL)
        for variant in variants:
            variant.close()
        bound = self.work.prefill_bound(self.machine, N_PREFILL)
        return {"row": PREFILL_NAME, **compared(samples, bound)}

    def _rounds(
        self, variants: list[Variant], what: str, n_tokens: int
    ) -> tuple[dict[str, Samples], float]:
        """Let the variants take turns, every other round in reverse; between them, just read."""
        samples = {variant.name: Samples(n_spare=self.options.runs) for variant in variants}
        reading_rates = [self._read_in_quiet()]
        for number in range(self.options.runs):
            for variant in variants[:: -1 if number % 2 else 1]:
                name, child = variant.name, variant.child
                ask = partial(child.ask, what, name=name, n_tokens=n_tokens)
                samples[name].add(ask, self.options.patience)
                reading_rates.append(self._read_in_quiet())
        return samples, median(reading_rates)

    def _read_in_quiet(self) -> float:
        """Read when the threads of the last turn have stopped to spin."""
        wait_for_quiet(self.options.patience)
        return self.machine.read()

    def _wants(self, row_name: str) -> bool:
        return any(part in row_name for part in self.options.rows)

    def _note(self, row: dict[str, object]) -> None:
        self.rows.append(row)
        show(row)

    def _note_start(self, taken: dict[str, list[float]]) -> None:
        row: dict[str, object] = {"row": "start to first token, s"}
        for name, times in taken.items():
            row[name] = {"seconds": round(median(times), 2)}
        if len(taken) == 2:
            row["ratio"] = round(median(taken["sirocco"]) / median(taken["peer"]), 3)
        self.rows.append(row)

    def _note_memory(self, when: str, memory: dict[str, Memory]) -> None:
        needed = self.work.needs.weights_bytes + self.work.needs.kv_bytes(N_PREFILL + 8)
        row: dict[str, object] = {"row": f"peak memory, {when}, GB"}
        row["needed_bytes"] = round(needed)
        for name, peaks in memory.items():
            if when in peaks:
                row[name] = {"bytes": peaks[when], "of_needed": round(peaks[when] / needed, 3)}
        if len(memory) == 2 and all(when in peaks for peaks in memory.values()):
            row["ratio"] = round(memory["sirocco"][when] / memory["peer"][when], 3)
        self.rows.append(row)


def first_tokens(child: Child, room: dict[str, Any]) -> tuple[float, Memory]:
    """Return seconds from the process's start to the first token, and what a small task takes."""
    child.ask("open", name="first", n_sequences=1, context=16, **room)
    start_s = perf_counter() - child.started
    child.ask("close", name="first")
    peaks = {"start": child.ask("peak_bytes")["bytes"]}
    can_forget = child.ask("forget_peak")["done"]
    child.ask("open", name="task", n_sequences=1, context=N_PREFILL, **room)
    child.ask("advance", name="task", n_tokens=7)
    if can_forget:
        peaks["serving"] = child.ask("peak_bytes")["bytes"]
    child.ask("close", name="task")
    return start_s, peaks


def least(a: Memory, b: Memory) -> Memory:
    """Take the smaller peak of each phase."""
    return {when: min(a[when], b[when]) for when in a}


def decode_name(n_sequences: int, context: int) -> str:
    """Name a row of decode."""
    many = f", {n_sequences} at once" if n_sequences > 1 else ""
    return f"decode{many}, context {context}"


def compared(samples: dict[str, Samples], bound: float) -> dict[str, object]:
    """Put the peer's better variant beside Sirocco and the bound."""
    row: dict[str, object] = {name: sample.summary() for name, sample in samples.items()}
    peers = [name for name in samples if name != "sirocco"]
    used = list(samples.values())
    if peers:
        row["peer"] = best = max(peers, key=lambda name: median(samples[name].rates))
        used = [samples[best]]
    if "sirocco" in samples:
        ours = samples["sirocco"]
        row["of_bound"] = round(median(ours.rates) / bound, 3)
        if peers:
            used = [samples[best], ours]
            pairs = zip(ours.rates, samples[best].rates, strict=True)
            row["ratio"] = round(median(a / b for a, b in pairs), 3)
    return {**row, "bound_tokens_per_s": round(bound, 2), "noisy": any(s.is_noisy for s in used)}


def runs(command: list[str | Path]) -> bool:
    """Tell whether the command ends well."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def progress(line: str) -> None:
    """Tell what takes so long."""
    print(f"... {line}", file=sys.stderr, flush=True)


def show_title(title: str) -> None:
    """Begin a table for people."""
    print(f"\n{title}: tokens per second, all sequences together; a lower row's ratio is of cost")
    print(f"  {'':<34}{'llama.cpp':>10}{'Sirocco':>10}{'ratio':>8}{'bound':>10}{'of it':>7}")


def show(row: dict[str, object]) -> None:
    """Print one row of the table."""
    print(f"  {row['row']:<34}{''.join(cells(row))}", flush=True)


def cells(row: dict[str, Any]) -> Iterator[str]:
    """Columns after the first."""
    peer = row.get("peer")
    for engine in (row.get(peer) if isinstance(peer, str) else peer, row.get("sirocco")):
        number = None
        if engine:
            number = engine.get("tokens_per_s") or engine.get("seconds") or engine["bytes"] / 1e9
        yield f"{'-' if number is None else format(number, '.2f'):>10}"
    yield f"{row.get('ratio') or '-':>8}"
    bound = row.get("bound_tokens_per_s")
    yield f"{'' if bound is None else format(bound, '.1f'):>10}"
    yield f"{format(row['of_bound'], '.0%') if 'of_bound' in row else '':>7}"
    if isinstance(peer, str):
        yield f"  {peer}"
    if row.get("noisy"):
        yield "  noisy"


if __name__ == "__main__":
    main()
