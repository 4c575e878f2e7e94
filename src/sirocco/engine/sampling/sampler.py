"""From logits to tokens. Each row is chosen by its own request alone, whatever its neighbours.

Random numbers are stateless: a hash of (seed, position) gives one uniform number per token, so
an answer does not change with its batch mates, a preemption or the cutting of its prompt.

On a CPU a choice has the same bits in any batch. Only two kinds of operation are used on many
rows at once: those that do not round, or round each number for itself (comparisons, sums and
quotients of two numbers), and those that torch computes row by row in an order of the row's
own (softmax, cumsum, sums of short runs). `tests/engine/sampling/test_sampler.py` holds it to that.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sirocco.engine.sampling.drawing import draw
from sirocco.engine.sampling.penalties import add_bias, penalise, wants_penalties
from sirocco.engine.sampling.ranking import likeliest, top
from sirocco.engine.sampling.token_counts import TokenCounts
from sirocco.errors import ModelFault
from sirocco.types import SamplingParams, TokenLogprob

_MASK_64 = 2**64 - 1

_N_TOGETHER = 16
"""Rows that are changed at once: of 32000 tokens they are 2 MB."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the choice of one token depends on, besides its logits.

    Attributes:
        token_ids: prompt and output so far; the new token's position is its length.
        counts: of the first tokens of `token_ids`, kept from step to step by the caller; what
            follows them is counted for this choice alone. None counts all of them now.
        allowed: [V] bool, the tokens that may be chosen, one at least; None allows all.
    """

    sampling: SamplingParams
    seed: int
    token_ids: Sequence[int]
    n_prompt_tokens: int
    counts: TokenCounts | None = None
    allowed: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token; None if there is none to choose, and why."""

    token_id: int | None
    logprob: TokenLogprob | None = None
    fault: ModelFault | None = None


NO_CHOICE = Choice(None, fault=ModelFault("the model's logits are not finite numbers"))


@torch.inference_mode()
def sample(logits: Tensor, rows: Sequence[Row]) -> list[Choice]:
    """Choose one token per row.

    Penalties and biases change the logits first, and tokens that are not allowed fall out; then
    temperature, top_k, top_p and min_p, in this order, decide among which tokens the row's random
    number chooses. Log-probabilities are those of the model, before any of these. A model's
    logits are all finite: a row with one that is not chooses nothing.

    Args:
        logits: [B, V] float32; not changed.  rows: B of them.
    """
    with _one_thread(logits.device):
        sound = [index for index, is_sound in enumerate(_are_sound(logits)) if is_sound]
        token_ids = _choose(logits, rows, sound)
        logprobs = _logprobs(logits, rows, token_ids)
    return [
        Choice(token_ids[index], logprobs.get(index)) if index in token_ids else NO_CHOICE
        for index in range(len(rows))
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


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Keep torch to the calling thread on a CPU.

    Its threads wait for each other by spinning. Beside other work one sum over the logits of
    64 rows took 0.2 ms in two threads when all went well, and 12 ms in the median; 0.35 ms in one.
    """
    n_threads = torch.get_num_threads()
    if device.type != "cpu" or n_threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _are_sound(logits: Tensor) -> list[bool]:
    """Say of each row whether all of its numbers are finite."""
    # A sum is finite only if all of its numbers are: one look at them, and no copy. It may be
    # infinite for the largest of finite numbers, so such rows are looked at more closely.
    are_sound: list[bool] = torch.isfinite(logits.sum(dim=1)).tolist()
    doubtful = [index for index, is_sound in enumerate(are_sound) if not is_sound]
    if doubtful:
        for index, is_sound in zip(
            doubtful, torch.isfinite(logits[doubtful]).all(dim=1).tolist(), strict=True
        ):
            are_sound[index] = is_sound
    return are_sound


def _choose(logits: Tensor, rows: Sequence[Row], indices: Sequence[int]) -> dict[int, int]:
    """Choose for the rows of these indices: index → token id."""
    as_they_are: list[int] = []
    changed: list[int] = []
    for index in indices:
        is_free = rows[index].sampling.temperature == 0 and not _is_adjusted(rows[index])
        (as_they_are if is_free else changed).append(index)
    chosen: dict[int, int] = {}
    if as_they_are:
        best = likeliest(_pick(logits, as_they_are)).tolist()
        chosen |= zip(as_they_are, best, strict=True)
    for some in _blocks(changed):
        # A copy, which is ours to change.
        chosen |= zip(some, _choose_from(_copy(logits, some), [rows[i] for i in some]), strict=True)
    return chosen


def _choose_from(scores: Tensor, rows: Sequence[Row]) -> list[int]:
    """Choose one token per row: [B, V] float32, overwritten."""
    _adjust(scores, rows)
    drawing = [index for index, row in enumerate(rows) if row.sampling.temperature > 0]
    token_ids = [-1] * len(rows)
    if len(drawing) < len(rows):
        token_ids = likeliest(scores).tolist()
    if drawing:
        numbers = [uniform(rows[index].seed, len(rows[index].token_ids)) for index in drawing]
        drawn = draw(_pick(scores, drawing), [rows[index].sampling for index in drawing], numbers)
        for index, token_id in zip(drawing, drawn, strict=True):
            token_ids[index] = token_id
    return token_ids


def _is_adjusted(row: Row) -> bool:
    sampling = row.sampling
    return bool(wants_penalties(sampling) or sampling.logit_bias or row.allowed is not None)


def _adjust(scores: Tensor, rows: Sequence[Row]) -> None:
    """Apply each row's penalties, its biases, and what it may choose: [B, V], changed in place."""
    samplings = [row.sampling for row in rows]
    penalised = [index for index, of_one in enumerate(samplings) if wants_penalties(of_one)]
    if penalised:
        counts = [_counts(rows[index]) for index in penalised]
        penalise(scores, penalised, [samplings[index] for index in penalised], counts)
    biased = {index: of_one.logit_bias for index, of_one in enumerate(samplings)
              if of_one.logit_bias}  # fmt: skip
    if biased:
        add_bias(scores, list(biased), list(biased.values()))
    for score, row in zip(scores, rows, strict=True):
        if row.allowed is not None:
            score.masked_fill_(~row.allowed.to(score.device), -math.inf)


def _counts(row: Row) -> TokenCounts:
    """Give the counts of a row's tokens: those that were kept, if they reach so far."""
    if row.counts is None:
        return TokenCounts(row.token_ids, row.n_prompt_tokens)
    if row.counts.n_tokens == len(row.token_ids):
        return row.counts
    return row.counts.followed_by(row.token_ids[row.counts.n_tokens :])


def _logprobs(
    logits: Tensor, rows: Sequence[Row], token_ids: dict[int, int]
) -> dict[int, TokenLogprob]:
    """Log-probabilities for the rows that want them and have a token: index → logprob."""
    wanting = [index for index in token_ids if rows[index].sampling.logprobs is not None]
    found: dict[int, TokenLogprob] = {}
    for some in _blocks(wanting):
        n_top = [rows[index].sampling.logprobs or 0 for index in some]
        of_some = _logprobs_of(_copy(logits, some), [token_ids[index] for index in some], n_top)
        found |= zip(some, of_some, strict=True)
    return found


def _logprobs_of(
    logits: Tensor, token_ids: Sequence[int], n_top: Sequence[int]
) -> list[TokenLogprob]:
    logprobs = logits.log_softmax(dim=1)
    chosen = torch.tensor(token_ids, device=logits.device)[:, None]
    values, ids = (found.tolist() for found in top(logprobs, max(n_top)))
    return [
        TokenLogprob(token_id, logprob, tuple(zip(of_ids[:n], of_values[:n], strict=True)))
        for token_id, logprob, of_ids, of_values, n in zip(
            token_ids,
            logprobs.gather(1, chosen).flatten().tolist(),
            ids,
            values,
            n_top,
            strict=True,
        )
    ]


def _blocks(indices: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut a list of rows into parts whose numbers fit into a cache, and need little memory."""
    for first in range(0, len(indices), _N_TOGETHER):
        yield indices[first : first + _N_TOGETHER]


def _pick(logits: Tensor, indices: Sequence[int]) -> Tensor:
    """Give the rows of these indices; a copy only if they are not all."""
    return logits if len(indices) == len(logits) else _copy(logits, indices)


def _copy(logits: Tensor, indices: Sequence[int]) -> Tensor:
    return logits.index_select(0, torch.tensor(indices, device=logits.device))
