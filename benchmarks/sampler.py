"""What does it cost to choose the tokens of a step: 1, 16 and 64 rows of 32000 logits?

Logits have the shape of a language model's: a few likely tokens, then many that are ever less
likely. `flat` has them from one normal distribution, which wants thousands of tokens for a
top_p of 0.9. Penalties look back at 2000 tokens; `counted anew` is without kept counts. Rows
are measured in turns, so that a noisy minute meets all of them; the least of the times is what
it costs where nothing else runs.
"""

import statistics
from collections.abc import Sequence
from time import perf_counter

import torch
from _report import arguments, finish

from sirocco import SamplingParams
from sirocco.engine.sampling.sampler import Row, sample
from sirocco.engine.sampling.token_counts import TokenCounts

VOCAB_SIZE, N_TOKENS, N_PROMPT_TOKENS = 32_000, 2000, 1000
GREEDY = SamplingParams(temperature=0)
TEMPERATURE = SamplingParams(temperature=0.8)
TOP_P = SamplingParams(temperature=0.8, top_p=0.9)
TOP_K = SamplingParams(temperature=0.8, top_k=50)
MIN_P = SamplingParams(temperature=0.8, min_p=0.05)
PENALTIES = SamplingParams(
    temperature=0, repetition_penalty=1.1, frequency_penalty=0.1, presence_penalty=0.1
)
LOGPROBS = SamplingParams(temperature=0, logprobs=5)
MIX = (GREEDY, TEMPERATURE, TOP_P, TOP_K, MIN_P, PENALTIES, LOGPROBS, TOP_P)

Work = tuple[torch.Tensor, list[Row]]


def main() -> None:
    """Measure, print a table and one JSON line."""
    parser = arguments(__doc__ or "")
    parser.set_defaults(runs=20)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for n_rows in (1, 16, 64):
        times = in_turns(works(n_rows), options.runs)
        rows += [
            {
                "rows": n_rows,
                "what": what,
                "us": round(statistics.median(of_one) * 1e6),
                "least_us": round(min(of_one) * 1e6),
            }
            for what, of_one in times.items()
        ]
    show(rows)
    finish("sampler", rows, save=options.save)


def works(n_rows: int) -> dict[str, Work]:
    """Name what is measured: logits, and the rows that choose from them."""
    likely, flat = likely_logits(n_rows), torch.randn(n_rows, VOCAB_SIZE)
    samplings = {
        "greedy": [GREEDY], "temperature": [TEMPERATURE], "top_p 0.9": [TOP_P],
        "top_k 50": [TOP_K], "min_p 0.05": [MIN_P], "penalties": [PENALTIES],
        "logprobs 5": [LOGPROBS], "mix": MIX,
    }  # fmt: skip
    of_names = {what: (likely, rows_of(n_rows, given)) for what, given in samplings.items()}
    of_names["top_p 0.9, flat"] = (flat, rows_of(n_rows, [TOP_P]))
    of_names["penalties, counted anew"] = (likely, rows_of(n_rows, [PENALTIES], keeps=False))
    return of_names


def likely_logits(n_rows: int) -> torch.Tensor:
    """Draw logits whose probabilities fall as 1 / rank^1.5, in no order: [n_rows, VOCAB_SIZE]."""
    falling = -1.5 * torch.arange(1, VOCAB_SIZE + 1).log()
    return torch.stack([falling[torch.randperm(VOCAB_SIZE)] for _ in range(n_rows)])


def rows_of(n_rows: int, samplings: Sequence[SamplingParams], *, keeps: bool = True) -> list[Row]:
    """Make rows that take turns with the samplings; each has its own 2000 tokens."""
    rows = []
    for index in range(n_rows):
        token_ids = torch.randint(VOCAB_SIZE, (N_TOKENS,)).tolist()
        counts = TokenCounts(token_ids, N_PROMPT_TOKENS) if keeps else None
        sampling = samplings[index % len(samplings)]
        rows.append(Row(sampling, index, token_ids, N_PROMPT_TOKENS, counts))
    return rows


def in_turns(works: dict[str, Work], n_runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each work: all once, then all again; the first round warms up.

    Each run has logits that were written just before, as a model's are.
    """
    times: dict[str, list[float]] = {what: [] for what in works}
    for _ in range(1 + n_runs):
        for what, (logits, rows) in works.items():
            written = logits.clone()
            started = perf_counter()
            sample(written, rows)
            times[what].append(perf_counter() - started)
    return {what: of_one[1:] for what, of_one in times.items()}


def show(rows: list[dict[str, object]]) -> None:
    """Print the table for people."""
    print(f"microseconds a step, median and least; {VOCAB_SIZE} tokens")
    for row in rows:
        print(f"  {row['rows']:>3} rows   {row['what']:<26}{row['us']:>9,}{row['least_us']:>9,}")


if __name__ == "__main__":
    main()
