"""Which size learns most from the compute there is? Networks of several sizes, by budget.

Each size is trained by the project's own training loop with a constant learning rate, so that
what it has learnt at any budget on the way is comparable, and the same run goes on when the
budget doubles. Compute is 6 · parameters · tokens (Kaplan 2020, §2.1). All see the same rows in
the same order, in the vocabulary of the embedded model; the texts are those of its first
sitting without what was written for it. A run that is stopped goes on from its last saved step.
"""

import argparse
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from _report import finish
from safetensors import safe_open

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.model.config import ModelConfig
from sirocco.model.presets import preset
from sirocco.model.random_model import random_model
from sirocco.model.weights import save_model
from sirocco.settings import load_settings
from sirocco.tokenizer import load_tokenizer
from sirocco.training.corpus import is_held_out, read_source
from sirocco.training.packing import encode
from sirocco.training.recipe import Phase, Recipe, load_recipe
from sirocco.training.run import TEMPLATE, Listener, run_recipe
from sirocco.training.trainer import Progress

BREEZE = preset("breeze")
SHAPES = {
    "1.0M": replace(BREEZE, dim=128, n_layers=3, n_heads=4, n_kv_heads=1, hidden_dim=320),
    "2.3M": replace(BREEZE, dim=192, n_layers=4, n_heads=6, n_kv_heads=2, hidden_dim=480),
    "4.3M": BREEZE,
    "10.4M": replace(BREEZE, dim=384, n_layers=6, n_heads=12, n_kv_heads=3, hidden_dim=960),
}
"""One shape in four sizes: heads of 32, feed-forward 2.5 x width, the embedded model the third."""

SEQ_LEN, ROWS = 256, 8
TOKENS_A_STEP = SEQ_LEN * ROWS
EVAL_EVERY = 24
"""Steps between measurements of the held-out loss."""
SMALLEST_BUDGET = 3e12
"""FLOP; every further budget is twice the one before."""
RATE_AT_256 = 2e-3
"""Learning rate at width 256, the embedded model's own; in inverse proportion to the width."""


def main() -> None:
    """Bring every size to the largest budget; then print what came out."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    if not options.report:
        for name in options.sizes:
            train(name, budgets(options.budgets)[-1], options)
    report(options)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the recipe's folder of texts")
    add("--out", type=Path, required=True, help="folder for the runs")
    add("--sizes", nargs="+", default=[*SHAPES], choices=[*SHAPES])
    add("--budgets", type=int, default=3, help=f"{SMALLEST_BUDGET:.0e} FLOP, doubled this often")
    add("--threads", type=int, default=1)
    add("--report", action="store_true", help="train nothing, report what is there")
    add("--save", action="store_true", help="keep the result in benchmarks/results/")
    return parser.parse_args()


def budgets(n: int) -> list[float]:
    """FLOP of each budget."""
    return [SMALLEST_BUDGET * 2**i for i in range(n)]


def steps_of(shape: ModelConfig, budget: float) -> int:
    """Count the steps that a budget buys."""
    return max(1, round(budget / (6 * shape.n_parameters * TOKENS_A_STEP)))


def recipe_of(name: str, budget: float) -> Recipe:
    """Take the first sitting's natural texts, for as many steps as the budget buys."""
    shape, first = SHAPES[name], load_recipe("breeze").phase[0]
    steps = steps_of(shape, budget)
    sources = tuple(s for s in first.source if not s.path.startswith("sirocco:"))
    rate = RATE_AT_256 * 256 / shape.dim
    return Recipe(
        name=name, preset="breeze", seed=1, seq_len=SEQ_LEN, batch_size=ROWS,
        peak_lr=rate, min_lr=rate, warmup_steps=20, weight_decay=0.1, clip_norm=1.0,
        held_out=0.02, eval_every=EVAL_EVERY, save_every=EVAL_EVERY, weights="float16",
        phase=(Phase("texts", steps, "all", sources),),
    )  # fmt: skip


def train(name: str, budget: float, options: argparse.Namespace) -> None:
    """Bring one size to a budget, from wherever its run stands."""
    folder = options.out / name
    recipe = recipe_of(name, budget)
    points = _points(folder)
    if points and points[-1][0] >= recipe.total_steps * TOKENS_A_STEP:
        return
    start = _first_weights(name, folder / "start")
    clock = _ProcessorClock(folder / "seconds.tsv")
    log = run_recipe(
        recipe, options.data, folder, resume=(folder / "state.safetensors").exists(),
        device="cpu", start=start, listener=Listener(said=clock.pause, stepped=clock.note),
    )  # fmt: skip
    print(f"{name} at {budget:.1e} FLOP: {log.held_out[-1][2]:.3f}", flush=True)


def _first_weights(name: str, folder: Path) -> Path:
    """Random weights of the size's shape, with the embedded model's vocabulary."""
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_embedded() / "tokenizer.json", folder / "tokenizer.json")
        save_model(random_model(SHAPES[name], seed=1), folder, dtype=torch.float32)
    return folder


def _embedded() -> Path:
    folder = Catalog(load_settings().models_folder).find(EMBEDDED_MODEL_ID).folder
    assert folder is not None  # it is in the package
    return folder


class _ProcessorClock:
    """Processor seconds of each step, kept over sittings: time that others took does not count."""

    def __init__(self, file: Path) -> None:
        self._file, self._last = file, time.process_time()

    def pause(self, said: str) -> None:
        """Leave out what was not a step, but an evaluation or the reading of texts."""
        print(said, flush=True)
        self._last = time.process_time()

    def note(self, progress: Progress) -> None:
        """Keep one step's seconds."""
        now = time.process_time()
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(f"{progress.step}\t{now - self._last:.4f}\n")
        self._last = now


def report(options: argparse.Namespace) -> None:
    """Print losses by budget and by tokens, and keep them."""
    runs = {name: _points(options.out / name) for name in options.sizes}
    fewest = min(points[-1][0] for points in runs.values())
    n_bytes = _bytes_a_token(options.data)
    rows: list[dict[str, object]] = []
    for name, points in runs.items():
        speed = _tokens_a_second(options.out / name)
        tokens = [steps_of(SHAPES[name], b) * TOKENS_A_STEP for b in budgets(options.budgets)]
        for equal, n_tokens in [*(("compute", n) for n in tokens), ("tokens", fewest)]:
            if (loss := loss_at(points, n_tokens)) is not None:
                row = _row(name, n_tokens, loss, n_bytes)
                rows.append({"equal": equal} | row | _time(n_tokens, speed))
    for row in sorted(rows, key=lambda row: (str(row["equal"]), float(str(row["flop"])))):
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    curves = [{"size": name, "curve": points} for name, points in runs.items()]
    finish("scaling", [*rows, *curves], save=options.save)


def _row(name: str, n_tokens: int, loss: float, n_bytes: float) -> dict[str, object]:
    n_parameters = SHAPES[name].n_parameters
    return {
        "size": name, "n_parameters": n_parameters, "n_tokens": n_tokens,
        "flop": 6 * n_parameters * n_tokens, "nats_per_token": round(loss, 3),
        "bits_per_byte": round(loss / math.log(2) / n_bytes, 3),
    }  # fmt: skip


def _time(n_tokens: int, speed: float) -> dict[str, object]:
    minutes = round(n_tokens / speed / 60, 1)
    return {"tokens_per_processor_s": round(speed), "processor_min": minutes}


def loss_at(points: Sequence[tuple[float, float]], n_tokens: float) -> float | None:
    """Read a loss between two of (tokens, loss), straight in the logarithm; None beyond them."""
    for (before, high), (after, low) in pairwise(points):
        if before <= n_tokens <= after:
            share = math.log(n_tokens / before) / math.log(after / before)
            return high + share * (low - high)
    return None


def _points(folder: Path) -> list[tuple[int, float]]:
    """Tokens seen and held-out loss, of a run as far as it has come."""
    file = folder / "state.safetensors"
    if not file.exists():
        return []
    with safe_open(file, framework="pt") as state:
        log = json.loads(state.metadata()["log"])
    return [(step * TOKENS_A_STEP, loss) for step, _, loss in log["held_out"]]


def _tokens_a_second(folder: Path) -> float:
    """Tokens that a second of one processor learns: the median over the steps."""
    lines = (folder / "seconds.tsv").read_text("utf-8").splitlines()
    return TOKENS_A_STEP / median(float(line.partition("\t")[2]) for line in lines)


def _bytes_a_token(data: Path) -> float:
    """Bytes of text to a token, in the documents that are held out."""
    recipe, tokenizer = recipe_of("4.3M", SMALLEST_BUDGET), load_tokenizer(_embedded())
    n_bytes = n_tokens = 0
    for source in recipe.phase[0].source:
        for document in read_source(source.path, data):
            if is_held_out(document, recipe.held_out):
                token_ids = encode(document, tokenizer, TEMPLATE, "all").token_ids[1:].tolist()
                n_bytes += len(tokenizer.decode(token_ids).encode())
                n_tokens += len(token_ids)
    return n_bytes / n_tokens


if __name__ == "__main__":
    main()
