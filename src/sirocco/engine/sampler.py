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

_FIRST_TRIED = 256
"""Likeliest tokens that are looked at before all of them are."""


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
    # A sum is finite only if all of its numbers are: one look at them, and no copy.
    is_sound = torch.isfinite(logits.sum(dim=1))
    sound = is_sound.tolist()
    safe = logits if all(sound) else torch.where(is_sound[:, None], logits, 0.0)
    token_ids = _choose(_adjusted(safe, rows), rows)
    return [
        Choice(token_id, _logprob(scores, token_id, row.sampling.logprobs))
        if row_is_sound
        else Choice(None)
        for token_id, scores, row, row_is_sound in zip(token_ids, safe, rows, sound, strict=True)
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


def _adjusted(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    """Apply penalties and biases where there are any: [B, V] → [B, V], a copy only then."""
    if not any(_wants_adjustment(row.sampling) for row in rows):
        return logits
    return torch.stack([
        _adjust(x, row) if _wants_adjustment(row.sampling) else x
        for x, row in zip(logits, rows, strict=True)
    ])  # fmt: skip


def _wants_adjustment(sampling: SamplingParams) -> bool:
    return bool(
        sampling.repetition_penalty != 1.0
        or sampling.frequency_penalty
        or sampling.presence_penalty
        or sampling.logit_bias
    )


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
    numbers = [uniform(row.seed, len(row.token_ids)) for row in rows]
    token_ids = [-1] * len(rows)
    free = [i for i, row in enumerate(rows) if not _wants_filter(row.sampling)]
    if free:
        drawn = _draw_from_all(logits[free], [rows[i] for i in free], [numbers[i] for i in free])
        for i, token_id in zip(free, drawn, strict=True):
            token_ids[i] = token_id
    for i, row in enumerate(rows):
        if _wants_filter(row.sampling):
            token_ids[i] = _draw_from_likeliest(logits[i], row.sampling, numbers[i])
    return token_ids


def _wants_filter(sampling: SamplingParams) -> bool:
    return bool(sampling.top_k or sampling.top_p < 1.0 or sampling.min_p)


def _draw_from_all(logits: Tensor, rows: Sequence[Row], numbers: Sequence[float]) -> list[int]:
    """Draw from the whole vocabulary, which needs no order: [B, V] → B token ids."""
    temperatures = torch.tensor(
        [[row.sampling.temperature] for row in rows], dtype=torch.float64, device=logits.device
    )
    total = (logits.double() / temperatures).softmax(dim=1).cumsum(dim=1)
    aims = torch.tensor(numbers, dtype=torch.float64, device=logits.device)[:, None]
    # The first token whose cumulated probability exceeds the number; never one of zero.
    places = torch.searchsorted(total, aims * total[:, -1:], right=True)
    last = torch.searchsorted(total, total[:, -1:].contiguous())  # the last one that is not zero
    drawn: list[int] = torch.minimum(places, last).flatten().tolist()
    return drawn


def _draw_from_likeliest(logits: Tensor, sampling: SamplingParams, number: float) -> int:
    """Draw from the tokens that top_k, top_p and min_p leave, in this order: [V] → token id."""
    probs, order = _likeliest(logits, sampling)
    # The token that crosses p is the last that stays: what lies before it is less than p.
    before = probs.cumsum(dim=0) - probs
    probs = probs.masked_fill(before >= sampling.top_p, 0.0)
    probs = probs.masked_fill(probs < sampling.min_p * probs[0], 0.0)
    total = probs.cumsum(dim=0)
    place = int((total <= number * total[-1]).sum())
    last = int((probs > 0).sum()) - 1
    return int(order[min(place, last)])


def _likeliest(logits: Tensor, sampling: SamplingParams) -> tuple[Tensor, Tensor]:
    """Probabilities and ids of the likeliest tokens, in order: as many as the filters look at.

    Sorting a whole vocabulary takes longer than making a token, so a few are tried first.
    """
    scaled = logits.double() / sampling.temperature
    if sampling.top_k:
        ordered, order = _sorted_top(scaled, sampling.top_k)
        ordered, order = ordered[: sampling.top_k], order[: sampling.top_k]
        return ordered.softmax(dim=0), order
    whole = scaled.logsumexp(dim=0)
    for n_tried in (_FIRST_TRIED, len(logits)):
        ordered, order = _sorted_top(scaled, n_tried)
        probs = (ordered - whole).exp()
        if probs.sum() >= sampling.top_p or probs[-1] < sampling.min_p * probs[0]:
            break
    return probs, order


def _sorted_top(scores: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Give the n highest and all that equal the last of them; equal ones by their ids."""
    least = scores.topk(min(n, len(scores))).values[-1]
    ids = (scores >= least).nonzero().flatten()
    ordered, places = scores[ids].sort(descending=True, stable=True)
    return ordered, ids[places]


def _logprob(logits: Tensor, token_id: int, n_top: int | None) -> TokenLogprob | None:
    if n_top is None:
        return None
    logprobs = logits.log_softmax(dim=0)
    values, ids = logprobs.topk(n_top)
    top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenLogprob(token_id, float(logprobs[token_id]), top)
