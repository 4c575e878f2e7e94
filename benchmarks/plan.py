"""Does `sirocco plan` say what this machine does? Decode, predicted and measured.

The machine is measured as `sirocco plan --measure` does it, and then the engine decodes through
`LLM` with random weights of a preset's shape: scheduling, sampling and text are in the measured
seconds. `error` is prediction over measurement, less 1. Each turn waits for a quiet moment;
medians count on both sides.
"""

import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _child import Child
from _quiet import wait_for_quiet
from _report import arguments, finish
from _weights import HERE, checkpoint
from platformdirs import user_cache_path

from sirocco.kvcache.format import FLOAT16
from sirocco.model.presets import preset
from sirocco.plan.hardware import Hardware
from sirocco.plan.local import measure_local
from sirocco.plan.needs import Needs
from sirocco.plan.planning import Question, Step, decode_step

MAX_SEQ_LEN = 2048
PLACES = ((1, 128), (1, 1900), (4, 128), (8, 512), (16, 128))
"""Sequences at once, and the context that they start from."""


def main() -> None:
    """Measure the machine, then the engine; print a table and one JSON line."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    hardware = measure_local(options.cache)
    print(f"reads {hardware.read_bytes_per_s / 1e9:.1f} GB/s; {hardware.steps}", file=sys.stderr)
    rows: list[dict[str, object]] = []
    for name in options.preset:
        for weights in options.formats:
            rows += rows_of(options, name, weights, hardware)
    finish("-".join(["plan", *options.preset, *options.formats]), rows, save=options.save)


def parse_options() -> Any:
    """Read the command line."""
    parser = arguments((__doc__ or "").partition("\n")[0])
    cache = user_cache_path("sirocco") / "benchmarks"
    add = parser.add_argument
    add("--preset", nargs="+", default=["tinyllama-1.1b"], help="shapes of networks")
    add("--formats", nargs="+", default=["q4", "q8"], choices=["float32", "q4", "q8"])
    add("--places", nargs="+", type=_place, default=PLACES, metavar="NxCONTEXT",
        help="sequences at once, and the context that they start from")  # fmt: skip
    add("--tokens", type=int, default=16, help="tokens per sequence in a round")
    add("--patience", type=float, default=5, help="seconds to wait for quiet before a round")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--cache", type=Path, default=cache, help=f"for weights and logs; {cache}")
    return parser.parse_args()


def _place(text: str) -> tuple[int, int]:
    batch, _, context = text.partition("x")
    return int(batch), int(context)


def rows_of(options: Any, name: str, weights: str, hardware: Hardware) -> list[dict[str, object]]:
    """Compare one shape in one format."""
    shape = preset(name)
    kv_bytes = Needs(shape, weights, FLOAT16).kv_bytes_per_token
    folder = checkpoint(options.cache, name, weights, n_threads=options.threads)
    log = options.cache / "logs" / "plan.log"
    child = Child([sys.executable, HERE / "_ours.py"], log, n_threads=options.threads)
    child.ask(
        "load", checkpoint=str(folder), n_threads=options.threads, max_seq_len=MAX_SEQ_LEN,
        kv_cache_bytes=8192 * kv_bytes, n_guesses=0,
    )  # fmt: skip
    rows: list[dict[str, object]] = []
    print(f"{name}, {weights}: tokens per second, all sequences together")
    for batch, context in options.places:
        question = Question(shape, weights, FLOAT16.name, context, batch)
        step = decode_step(question, hardware, batch)
        predicted = step.tokens_per_s
        measured = measured_rate(child, batch, context, options)
        error = predicted / measured - 1
        print(f"  {batch:>2} at once from {context:>4}: planned {predicted:7.1f}, "
              f"measured {measured:7.1f}, {error:+.0%}")  # fmt: skip
        rows.append({
            "preset": name, "weights": weights, "n_sequences": batch, "context": context,
            "planned_ms": planned_ms(step),
            "planned_tokens_per_s": round(predicted, 2),
            "measured_tokens_per_s": round(measured, 2), "error": round(error, 3),
        })  # fmt: skip
    child.end()
    return rows


def planned_ms(step: Step) -> dict[str, float]:
    """Write what the plan's seconds are made of."""
    parts = {"weights": step.weights_s, "attention": step.attention_s, "rest": step.rest_s}
    return {name: round(1e3 * seconds, 2) for name, seconds in parts.items()}


def measured_rate(child: Child, batch: int, context: int, options: Any) -> float:
    """Decode; tokens per second, the median of the rounds."""
    child.ask("open", name="row", n_sequences=batch, context=context)
    child.ask("advance", name="row", n_tokens=1)
    rates = []
    for _ in range(options.runs):
        wait_for_quiet(options.patience)
        taken = child.ask("advance", name="row", n_tokens=options.tokens)
        rates.append(taken["n_tokens"] / taken["seconds"])
    child.ask("close", name="row")
    return median(rates)


if __name__ == "__main__":
    main()
