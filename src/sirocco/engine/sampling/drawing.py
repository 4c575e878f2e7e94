"""From scores and one random number per row to a token: temperature, top_k, top_p, min_p.

A row's number is looked up in the cumulated probabilities of its tokens. A vocabulary is
cumulated run by run, so that only one run of it is looked at token by token; where top_k or
top_p want an order, the likeliest tokens are enough nearly always.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sirocco.engine.sampling.ranking import in_order, runs_of, top
from sirocco.types import SamplingParams

_FIRST_TRIED = 64
"""Likeliest tokens that are looked at before all of them are."""

_RUN = 128
"""Tokens of which one sum is made."""

_LEAST_TEMPERATURE = torch.finfo(torch.float32).tiny
"""What is colder counts as this: float32 has no smaller number of full precision."""


def draw(
    scores: Tensor, samplings: Sequence[SamplingParams], numbers: Sequence[float]
) -> list[int]:
    """Draw one token per row.

    Args:
        scores: [B, V] float32; overwritten. −∞ is never drawn, but each row has a finite score,
            and neither NaN nor +∞.
        numbers: one in [0, 1) per row.
    """
    if not samplings:
        return []
    device = scores.device
    temperatures = torch.tensor(
        [[max(sampling.temperature, _LEAST_TEMPERATURE)] for sampling in samplings], device=device
    )
    # The maximum goes first: a quotient by a small temperature would overflow.
    probs = scores.sub_(scores.amax(dim=1, keepdim=True)).div_(temperatures).softmax(dim=1)
    limits = _limits(samplings, scores.shape[1]).to(device)
    aims = torch.tensor(numbers, dtype=torch.float64, device=device)[:, None]
    wants_order = [bool(s.top_k or s.top_p < 1.0) for s in samplings]
    drawn = torch.empty(len(samplings), dtype=torch.int64, device=device)
    for function, is_meant in ((_draw_from_likeliest, True), (_draw_from_all, False)):
        rows = [row for row, wants in enumerate(wants_order) if wants is is_meant]
        if len(rows) == len(samplings):
            drawn = function(probs, limits, aims)
        elif rows:
            drawn[rows] = function(probs[rows], limits[rows], aims[rows])
    token_ids: list[int] = drawn.tolist()
    return token_ids


def drawn_from_all(probs: Tensor, limits: Tensor, aims: Tensor) -> Tensor:
    """Draw from all tokens that min_p leaves, without waiting for the device: [B, V] → [B].

    Args:
        probs: [B, V] float32.  limits: [B, 3] float64, top_k, top_p, min_p.
        aims: [B, 1] float64, the rows' random numbers.
    """
    least = limits[:, 2:] * probs.amax(dim=1, keepdim=True)
    return _draw_by_id(probs * (probs >= least.float()), aims)


def drawn_from_likeliest(probs: Tensor, limits: Tensor, aims: Tensor) -> Tensor:
    """Draw from what top_k, top_p and min_p leave, without waiting for the device.

    Both ways of `_draw_from_likeliest` are computed for every row, so it is the slower one where
    numbers can be looked at.
    """
    drawn, is_enough = _looked_up(probs, limits, aims)
    return torch.where(is_enough, drawn, _draw_by_id(_all_that_stay(probs, limits), aims))


def _limits(samplings: Sequence[SamplingParams], n_tokens: int) -> Tensor:
    """Put top_k (all of them in place of 0), top_p and min_p of each row into [B, 3] float64."""
    return torch.tensor(
        [[min(s.top_k or n_tokens, n_tokens), s.top_p, s.min_p] for s in samplings],
        dtype=torch.float64,
    )


def _draw_from_all(probs: Tensor, limits: Tensor, aims: Tensor) -> Tensor:
    """Draw from all tokens that min_p leaves: [B, V] → [B]."""
    min_p = limits[:, 2:]
    if bool((min_p > 0).any()):
        least = min_p * probs.amax(dim=1, keepdim=True)
        probs = probs * (probs >= least.float())
    return _draw_by_id(probs, aims)


def _draw_by_id(weights: Tensor, aims: Tensor) -> Tensor:
    """Draw from weights in the order of their token ids: [B, V] → [B]."""
    runs = runs_of(weights, _RUN, fill=0.0)
    total = _cumulated(runs.sum(dim=2))
    target = aims * total[:, -1:]
    run = _place(total[:, 1:], target)
    rows = torch.arange(len(runs), device=runs.device)[:, None]
    inside = _cumulated(runs[rows, run].flatten(1))
    return (run * _RUN + _place(inside[:, 1:], target - total.gather(1, run))).flatten()


def _draw_from_likeliest(probs: Tensor, limits: Tensor, aims: Tensor) -> Tensor:
    """Draw from the tokens that top_k, top_p and min_p leave: [B, V] → [B]."""
    drawn, is_enough = _looked_up(probs, limits, aims)
    left = (~is_enough).nonzero().flatten()
    if len(left):
        drawn[left] = _draw_by_id(_all_that_stay(probs[left], limits[left]), aims[left])
    return drawn


def _looked_up(probs: Tensor, limits: Tensor, aims: Tensor) -> tuple[Tensor, Tensor]:
    """Draw from the likeliest; give what was drawn, [B], and whether these were enough, [B]."""
    values, ids = top(probs, _FIRST_TRIED)
    stay, is_enough = _filter(values, limits, probs.shape[1])
    total = _cumulated(stay)
    place = _place(total[:, 1:], aims * total[:, -1:])
    return ids.gather(1, place).flatten(), is_enough


def _all_that_stay(probs: Tensor, limits: Tensor) -> Tensor:
    """Set to 0 what top_k, top_p and min_p drop, from a look at all tokens: [B, V] → [B, V]."""
    ordered = in_order(probs)
    stay, _ = _filter(ordered, limits, probs.shape[1])
    n_stay = (stay > 0).sum(dim=1, keepdim=True)
    least = ordered.gather(1, n_stay - 1)
    # Of those as likely as the last one that stays, the first ones stay.
    n_of_least = n_stay - (ordered > least).sum(dim=1, keepdim=True)
    is_least = probs == least
    stays = (probs > least) | (is_least & (is_least.cumsum(dim=1) <= n_of_least))
    return probs * stays


def _filter(probs: Tensor, limits: Tensor, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Apply top_k, top_p and min_p to the likeliest tokens of each row, in order.

    Args:
        probs: [B, C] float32, of all `n_tokens` tokens the C likeliest.

    Returns: the probabilities that stay, 0 for the others; [B] whether C were enough to tell.
    """
    top_k, top_p, min_p = limits[:, :1], limits[:, 1:2], limits[:, 2:]
    n_looked_at = probs.shape[1]
    is_cut = top_k < n_tokens
    stay = probs.masked_fill(torch.arange(n_looked_at, device=probs.device) >= top_k, 0.0)
    total = _cumulated(stay)
    before, mass = total[:, :-1], total[:, -1:]
    # The token that crosses p is the last that stays: what lies before it is less than p. The
    # first stays even if p rounds to nothing.
    limit = top_p * torch.where(is_cut, mass, 1.0)
    stay = stay.masked_fill((before > 0.0) & (before >= limit), 0.0)
    least = (min_p * probs[:, :1]).float()
    stay = stay.masked_fill(probs < least, 0.0)
    is_enough = (mass >= top_p) | (probs[:, -1:] < least)
    is_enough = torch.where(is_cut, top_k <= n_looked_at, is_enough)
    return stay, is_enough.flatten() | (n_looked_at == n_tokens)


def _cumulated(weights: Tensor) -> Tensor:
    """Add up weights, in order: [B, N] → [B, 1 + N] float64, from 0 to the sum of all."""
    return F.pad(weights.cumsum(dim=1, dtype=torch.float64), (1, 0))


def _place(total: Tensor, target: Tensor) -> Tensor:
    """Find the first of the cumulated weights that exceeds the target: [B, N], [B, 1] → [B, 1].

    Never one whose own weight is 0: where rounding lets none exceed it, the last that has any.
    """
    last = (total < total[:, -1:]).sum(dim=1, keepdim=True)
    return torch.minimum((total <= target).sum(dim=1, keepdim=True), last)
