"""Choosing tokens where the logits are, without the host: the same tokens as `sampling.sampler`.

Only for sequences whose choice depends on nothing but logits, seed and position: no penalties,
biases, grammar, and no log-probabilities. The steps are those of `sampling.drawing`, with every
branch on numbers replaced by computing both ways, since a branch would wait for the device.
"""

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from sirocco.engine.sampling.drawing import drawn_from_all, drawn_from_likeliest
from sirocco.engine.sampling.penalties import wants_penalties
from sirocco.engine.sampling.ranking import likeliest
from sirocco.engine.sequence import Sequence

NOTHING = -1
"""In place of a token where the logits are not finite."""

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


class Kind(Enum):
    """How much the rows of a step want, at most; known to the host, so no branch on the device."""

    GREEDY = 0
    DRAWN = 1
    ORDERED = 2


@dataclass(frozen=True, slots=True)
class Sampling:
    """What the choice of each row depends on besides its logits: [B] each, on the device.

    seeds: int64.  temperatures: float32, 0 takes the likeliest.  limits: [B, 3] float64, top_k
    (all of them in place of 0), top_p and min_p.
    """

    seeds: Tensor
    temperatures: Tensor
    limits: Tensor


def is_simple(seq: Sequence) -> bool:
    """Tell whether the sequence's tokens can be chosen here."""
    sampling = seq.sampling
    return seq.grammar is None and not (
        wants_penalties(sampling) or sampling.logit_bias or sampling.logprobs is not None
    )


def kind_of(seq: Sequence) -> Kind:
    """Tell how much the sequence wants."""
    if seq.sampling.temperature == 0:
        return Kind.GREEDY
    return Kind.ORDERED if seq.sampling.top_k or seq.sampling.top_p < 1.0 else Kind.DRAWN


def choose_tokens(logits: Tensor, rows: Sampling, positions: Tensor, kind: Kind) -> Tensor:
    """Choose one token per row, waiting for nothing: [B, V] float32 → [B] int64.

    Args:
        positions: [B] int64, where the new tokens will stand.

    Returns: `NOTHING` where a row's logits are not all finite.
    """
    chosen = likeliest(logits)
    is_sound = torch.isfinite(logits).all(dim=1)
    if kind is not Kind.GREEDY:
        chosen = torch.where(rows.temperatures > 0, _drawn(logits, rows, positions, kind), chosen)
    return torch.where(is_sound, chosen, NOTHING)


def _drawn(logits: Tensor, rows: Sampling, positions: Tensor, kind: Kind) -> Tensor:
    temperatures = rows.temperatures.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    scores = logits.nan_to_num(posinf=0.0, neginf=0.0)  # of no use, but harmless
    probs = ((scores - scores.amax(dim=1, keepdim=True)) / temperatures).softmax(dim=1)
    aims = uniforms(rows.seeds, positions)[:, None]
    from_all = drawn_from_all(probs, rows.limits, aims)
    if kind is Kind.DRAWN:
        return from_all
    top_k, top_p = rows.limits[:, 0], rows.limits[:, 1]
    wants_order = (top_k < logits.shape[1]) | (top_p < 1.0)
    ordered = drawn_from_likeliest(probs, rows.limits, aims)
    return torch.where(wants_order, ordered, from_all)


def uniforms(seeds: Tensor, positions: Tensor) -> Tensor:
    """One number in [0, 1) for each, [B] float64; the same as `sampler.uniform` gives."""
    mixed = _mixed(_mixed(seeds) ^ positions)
    return _shifted(mixed, 11).double() * 2.0**-53


def _mixed(z: Tensor) -> Tensor:
    """SplitMix64's mixing function; products of int64 wrap around, as it wants."""
    z = z + _GOLDEN
    z = (z ^ _shifted(z, 30)) * _MIX_1
    z = (z ^ _shifted(z, 27)) * _MIX_2
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, n_bits: int) -> Tensor:
    """Shift right and fill up with zeros, as an unsigned number would."""
    return (z >> n_bits) & ((1 << (64 - n_bits)) - 1)
