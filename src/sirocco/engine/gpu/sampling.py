"""Choosing tokens where the logits are, without the host: the same tokens as `sampling.sampler`.

Not for sequences with a grammar, whose next tokens the host decides on, or with log-probabilities.
The steps are those of `sampling.penalties` and `sampling.drawing`, with every branch on numbers
replaced by computing both ways, since a branch would wait for the device.
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
class Adjustments:
    """What changes each row's logits before a choice: [B, …] each, on the device.

    penalties: [B, 3] float64: for repetition (1 is none), frequency and presence.  counts: [B, V]
    int32, how often a token stands in the output.  is_there: [B, V] bool, in prompt or output.
    biases: [B, V] float64.
    """

    penalties: Tensor
    counts: Tensor
    is_there: Tensor
    biases: Tensor

    def of(self, rows: Tensor) -> "Adjustments":
        """Take some rows, [B] int64: a copy."""
        return Adjustments(
            self.penalties[rows], self.counts[rows], self.is_there[rows], self.biases[rows]
        )


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
    return seq.grammar is None and seq.sampling.logprobs is None


def is_adjusted(seq: Sequence) -> bool:
    """Tell whether the sequence's logits change before its tokens are chosen."""
    return wants_penalties(seq.sampling) or bool(seq.sampling.logit_bias)


def kind_of(seq: Sequence) -> Kind:
    """Tell how much the sequence wants."""
    if seq.sampling.temperature == 0:
        return Kind.GREEDY
    return Kind.ORDERED if seq.sampling.top_k or seq.sampling.top_p < 1.0 else Kind.DRAWN


def choose_tokens(
    logits: Tensor, rows: Sampling, positions: Tensor, kind: Kind,
    adjustments: Adjustments | None = None,
) -> Tensor:  # fmt: skip
    """Choose one token per row, waiting for nothing: [B, V] float32 → [B] int64.

    Args:
        positions: [B] int64, where the new tokens will stand.
        adjustments: of the rows; None where none has any.

    Returns: `NOTHING` where a row's logits are not all finite.
    """
    is_sound = torch.isfinite(logits).all(dim=1)
    if adjustments is not None:
        logits = adjusted(logits, adjustments)
    chosen = likeliest(logits)
    if kind is not Kind.GREEDY:
        chosen = torch.where(rows.temperatures > 0, _drawn(logits, rows, positions, kind), chosen)
    return torch.where(is_sound, chosen, NOTHING)


def adjusted(logits: Tensor, rows: Adjustments) -> Tensor:
    """Change logits as `penalise` and then `add_bias` do, to the last bit: [B, V] float32."""
    repetition, frequency, presence = rows.penalties[:, None].unbind(dim=2)
    before = logits.double()
    cost = frequency * rows.counts + presence * (rows.counts > 0)
    after = torch.where(before > 0, before / repetition, before * repetition) - cost
    scores = torch.where(rows.is_there, _in_float32(after), logits)
    return _in_float32(scores.double() + rows.biases)


def _in_float32(scores: Tensor) -> Tensor:
    highest = torch.finfo(torch.float32).max
    return scores.clamp(-highest, highest).float()


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
