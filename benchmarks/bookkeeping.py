"""What does a step cost beside the network and the sampler: scheduling, blocks, names, text?

The network is replaced by logits that lie ready, so that a step is bookkeeping alone; what the
sampler takes is measured and taken away (`sampler.py` measures it). 64 sequences of ten accounts
run, with prompts of 100 tokens, 200 more requests wait, and blocks fill and get their names.
"""

import statistics
from time import perf_counter

import torch
from _report import arguments, finish

from sirocco import SamplingParams
from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine
from sirocco.engine.request import Request
from sirocco.engine.sampling import sampler
from sirocco.model.config import ModelConfig
from sirocco.model.random_model import random_model
from sirocco.tokenizer.byte import ByteTokenizer

VOCAB_SIZE = 512
SHAPE = ModelConfig(
    vocab_size=VOCAB_SIZE, dim=16, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=16, hidden_dim=16,
    max_seq_len=4096,
)  # fmt: skip
N_STEPS = 200


class Stopwatch:
    """Time spent in functions that were wrapped."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def wrap(self, work):  # type: ignore[no-untyped-def]
        """Measure every call of `work`."""

        def measured(*args):  # type: ignore[no-untyped-def]
            started = perf_counter()
            try:
                return work(*args)
            finally:
                self.elapsed_s += perf_counter() - started

        return measured


def main() -> None:
    """Measure, print a table and one JSON line."""
    options = arguments(__doc__ or "").parse_args()
    rows: list[dict[str, object]] = []
    for n_running in (1, 16, 64):
        times = [t for _ in range(options.runs) for t in step_times(n_running)]
        rows.append({
            "running": n_running,
            "us": round(statistics.median(times) * 1e6),
            "p95_us": round(sorted(times)[int(0.95 * len(times))] * 1e6),
        })  # fmt: skip
    print("bookkeeping of a decode step, in microseconds")
    for row in rows:
        print(f"  {row['running']:>3} running  {row['us']:>6} median  {row['p95_us']:>6} p95")
    finish("bookkeeping", rows, save=options.save)


def step_times(n_running: int) -> list[float]:
    """Seconds of each step in which all of them decode, beside the network and the sampler."""
    config = EngineConfig(max_running=n_running, max_seq_len=1024, kv_cache_bytes=1 << 26)
    engine = Engine(random_model(SHAPE), ByteTokenizer(VOCAB_SIZE), config)
    elsewhere = Stopwatch()
    logits = torch.randn(n_running, VOCAB_SIZE, generator=torch.Generator().manual_seed(0))
    engine.runner.run = lambda plan: logits[: len(plan.sampling)]  # type: ignore[method-assign]
    choose = sampler.sample
    sampler.sample = elsewhere.wrap(choose)
    sampling = SamplingParams(max_tokens=600, temperature=0, ignore_eos=True)
    for index in range(n_running + 200):
        prompt = [3 + index % 250] * 100
        engine.add(Request(str(index), prompt, sampling, account=str(index % 10)))
    times = []
    try:
        while len(times) < N_STEPS:
            before, started = elsewhere.elapsed_s, perf_counter()
            pieces = engine.step()
            if len(pieces) == n_running:
                times.append(perf_counter() - started - (elsewhere.elapsed_s - before))
    finally:
        sampler.sample = choose
    return times


if __name__ == "__main__":
    main()
