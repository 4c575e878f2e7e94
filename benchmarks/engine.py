"""How many tokens per second does the engine prefill and decode, alone and in company?

Random weights of a preset's shape: speed does not depend on what they are. Prefill reads one
prompt; decode writes tokens for 1, 4 and 16 sequences at once, whose prompts are already read.
Beside each row stands the bound: the multiplications of the weights, at the rate at which this
machine multiplied two large float32 matrices in the same run.
"""

import torch
from _report import arguments, finish, median_and_p95, seconds_of

from sirocco import LLM, SamplingParams

N_PROMPT_TOKENS, N_OUTPUT_TOKENS = 512, 64


def main() -> None:
    """Measure, print a table and one JSON line."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--preset", default="breeze", help="the shape of the network")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    llm = LLM.random(options.preset, weights="float32", max_seq_len=1024)
    flops_per_token = 2 * llm.engine.model.config.n_parameters
    flops_per_s = measured_flops_per_s(options.runs)

    rows: list[dict[str, object]] = []
    for name, n_tokens, times in measurements(llm, options.runs):
        median_s, p95_s = median_and_p95(times)
        rate = n_tokens / median_s
        rows.append({
            "row": name, "tokens_per_s": round(rate, 1), "p95_s": round(p95_s, 4),
            "bound_tokens_per_s": round(flops_per_s / flops_per_token, 1),
        })  # fmt: skip
    show(options.preset, rows)
    finish(f"engine-{options.preset}", rows, save=options.save)


def measured_flops_per_s(n_runs: int) -> float:
    """Measure the rate of a float32 product of two matrices of 1024 × 1024."""
    a, b = torch.randn(2, 1024, 1024)
    median_s, _ = median_and_p95(seconds_of(lambda: a @ b, n_runs))
    return float(2 * 1024**3 / median_s)


def measurements(llm: LLM, n_runs: int) -> list[tuple[str, int, list[float]]]:
    """Rows of (what, tokens in it, seconds of each run)."""
    prompt = list(range(3, 3 + N_PROMPT_TOKENS))
    only_prefill = SamplingParams(max_tokens=1, temperature=0, ignore_eos=True)
    prefill_times = seconds_of(lambda: llm.generate([prompt], only_prefill), n_runs)
    rows = [(f"prefill, {N_PROMPT_TOKENS} tokens", N_PROMPT_TOKENS, prefill_times)]
    sampling = SamplingParams(max_tokens=N_OUTPUT_TOKENS + 1, temperature=0, ignore_eos=True)
    for n_sequences in (1, 4, 16):
        prompts = [prompt[:16]] * n_sequences
        # The first token comes with the prompts, so it is measured and taken away.
        both = seconds_of(lambda p=prompts: llm.generate(p, sampling), n_runs)  # type: ignore[misc]
        first = seconds_of(lambda p=prompts: llm.generate(p, only_prefill), n_runs)  # type: ignore[misc]
        times = [whole - part for whole, part in zip(both, first, strict=True)]
        rows.append((f"decode, {n_sequences} at once", n_sequences * N_OUTPUT_TOKENS, times))
    return rows


def show(preset: str, rows: list[dict[str, object]]) -> None:
    """Print the table for people."""
    print(f"{preset}, float32: tokens per second, all sequences together")
    for row in rows:
        print(
            f"  {row['row']:<24}{row['tokens_per_s']:>10,} median   "
            f"bound {row['bound_tokens_per_s']:>10,}"
        )


if __name__ == "__main__":
    main()
