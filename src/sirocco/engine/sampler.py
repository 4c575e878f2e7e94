"""From logits to tokens. Each row is chosen by its own request alone, whatever its neighbours.

Random numbers are stateless: a hash of (seed, position) gives one uniform number per token, so
an answer does not change with its batch mates, a preemption or the cutting of its prompt.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sirocco.types import SamplingParams, TokenLogprob

_MASK_64 = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """What the choice of one token depends on, besides its logits.

    Attributes:
        token_ids: prompt and output so far; the new token's position is its length.
    """

    sampling: SamplingParams
    seed: int
    token_ids: Sequence[int]
    n_prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token; None if the logits are not numbers to choose by."""

    token_id: int | None
    logprob: TokenLogprob | None = None


def sample(logits: Tensor, rows: Sequence[Row]) -> list[Choice]:
    """Choose one token per row.

    Biases and penalties change the logits first; then temperature, top_k, top_p and min_p, in
    this order, decide among which tokens the row's random number chooses. Log-probabilities
    are those of the model, before any of these.

    Args:
        logits: [B, V] float32; not changed.  rows: B of them.
    """
    is_sound = torch.isfinite(logits).all(dim=1)
    safe = torch.where(is_sound[:, None], logits, 0.0)
    token_ids = _choose(torch.stack([_adjust(x, row) for x, row in zip(safe, rows, strict=True)]),
                        rows)  # fmt: skip
    return [
        Choice(token_id, _logprob(scores, token_id, row.sampling.logprobs))
        if sound
        else Choice(None)
        for token_id, scores, row, sound in zip(
            token_ids, safe, rows, is_sound.tolist(), strict=True
        )
    ]


def uniform(seed: int, position: int) -> float:
    """One number in [0, 1) for one token of one answer.

    Source: Steele 2014 §4 (SplitMix64), its mixing function twice over (seed, position).
    """
    mixed = _mix(_mix(seed & _MASK_64) ^ position)
    return (mixed >> 11) * 2.0**-53


def _mix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & _MASK_64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return z ^ (z >> 31)


def _adjust(logits: Tensor, row: Row) -> Tensor:
    """Apply one row's penalties and biases: [V] → [V]."""
    sampling = row.sampling
    if sampling.repetition_penalty != 1.0:
        logits = _penalise_repetition(logits, row, sampling.repetition_penalty)
    if sampling.frequency_penalty or sampling.presence_penalty:
        logits = _penalise_output(logits, row)
    if sampling.logit_bias:
        ids = torch.tensor(list(sampling.logit_bias), device=logits.device)
        bias = torch.tensor(list(sampling.logit_bias.values()), device=logits.device)
        logits = logits.index_add(0, ids, bias.to(logits.dtype))
    return logits


def _penalise_repetition(logits: Tensor, row: Row, penalty: float) -> Tensor:
    """Make every token that was seen before less likely. Source: Keskar 2019 §4.1."""
    seen = torch.tensor(sorted(set(row.token_ids)), device=logits.device)
    scores = logits[seen]
    return logits.index_copy(0, seen, torch.where(scores > 0, scores / penalty, scores * penalty))


def _penalise_output(logits: Tensor, row: Row) -> Tensor:
    """Subtract what the tokens of the output so far cost, by count and by presence."""
    counts = Counter(row.token_ids[row.n_prompt_tokens :])
    if not counts:
        return logits
    ids = torch.tensor(list(counts), device=logits.device)
    n_times = torch.tensor(list(counts.values()), device=logits.device, dtype=logits.dtype)
    sampling = row.sampling
    cost = sampling.frequency_penalty * n_times + sampling.presence_penalty
    return logits.index_add(0, ids, -cost)


def _choose(logits: Tensor, rows: Sequence[Row]) -> list[int]:
    """Greedy rows take the likeliest token; the others draw: [B, V] → B token ids."""
    token_ids: list[int] = logits.argmax(dim=1).tolist()
    drawing = [index for index, row in enumerate(rows) if row.sampling.temperature > 0]
    if drawing:
        drawn = _draw(logits[drawing], [rows[index] for index in drawing])
        for index, token_id in zip(drawing, drawn, strict=True):
            token_ids[index] = token_id
    return token_ids


def _draw(logits: Tensor, rows: Sequence[Row]) -> list[int]:
    """Draw one token per row from what its filters leave: [B, V] → B token ids."""

    def column(values: Sequence[float], dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=logits.device)[:, None]

    samplings = [row.sampling for row in rows]
    scaled = logits.double() / column([s.temperature for s in samplings])
    # Likeliest first; a stable sort, so that equal logits keep the order of their ids.
    scaled, order = scaled.sort(dim=1, descending=True, stable=True)
    ranks = torch.arange(logits.shape[1], device=logits.device)
    top_k = column([s.top_k or logits.shape[1] for s in samplings], torch.int64)
    scaled = scaled.masked_fill(ranks >= top_k, -torch.inf)
    probs = scaled.softmax(dim=1)
    # The token that crosses p is the last that stays: what lies before it is less than p.
    before = probs.cumsum(dim=1) - probs
    probs = probs.masked_fill(before >= column([s.top_p for s in samplings]), 0.0)
    least = probs[:, :1] * column([s.min_p for s in samplings])
    probs = probs.masked_fill(probs < least, 0.0)
    total = probs.cumsum(dim=1)
    numbers = column([uniform(row.seed, len(row.token_ids)) for row in rows])
    # The first token whose cumulated probability exceeds the number; never one of zero.
    places = (total <= numbers * total[:, -1:]).sum(dim=1, keepdim=True)
    last = (probs > 0).sum(dim=1, keepdim=True) - 1
    drawn: list[int] = order.gather(1, torch.minimum(places, last)).flatten().tolist()
    return drawn


def _logprob(logits: Tensor, token_id: int, n_top: int | None) -> TokenLogprob | None:
    if n_top is None:
        return None
    logprobs = logits.log_softmax(dim=0)
    values, ids = logprobs.topk(n_top)
    top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenLogprob(token_id, float(logprobs[token_id]), top)
