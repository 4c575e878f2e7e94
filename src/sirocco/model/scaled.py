"""Linear layers for a GPU whose weights have 8 or 4 bits, through torch's own products.

fp8 rounds activations, too, and multiplies in e4m3; int4 keeps activations in bfloat16. Both
compute on a CPU as well, slowly, which is how they are tested.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FP8_MAX = 448.0
"""The largest number of e4m3."""

INT4_GROUP = 128
"""Weights of a row that share a scale and a zero."""

_TILES = 8
"""How torch lays int4 weights out for a GPU: the inner tiles of a product."""


class Fp8Linear(nn.Module):
    """x Wᵀ in e4m3, with a float32 scale for each row of x and of W.

    Args:
        weight: [N, K] float8_e4m3fn; K and N are multiples of 16.  scales: [N] float32.
    """

    weight: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor, scales: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales)

    @classmethod
    def of(cls, weight: Tensor) -> "Fp8Linear":
        """Round a float matrix [N, K]."""
        return cls(*_in_fp8(weight))

    @classmethod
    def joined(cls, layers: Sequence["Fp8Linear"]) -> "Fp8Linear":
        """Lay matrices of the same K one below the other; x is rounded once for all."""
        return cls(
            torch.cat([layer.weight for layer in layers]),
            torch.cat([layer.scales for layer in layers]),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, K] → [T, N] in x's dtype."""
        rounded, scales = _in_fp8(x)
        if not x.is_cuda:
            product = rounded.float() @ self.weight.float().t()
            return (product * scales[:, None] * self.scales).to(x.dtype)
        return torch._scaled_mm(
            rounded, self.weight.t(), scale_a=scales[:, None], scale_b=self.scales[None, :],
            out_dtype=x.dtype, use_fast_accum=True,
        )  # fmt: skip


class Int4Linear(nn.Module):
    """x Wᵀ with weights of 4 bits, a scale and a zero for each 128 of a row; x is bfloat16.

    Args:
        weight: float [N, K]; K is a multiple of 128, N of 16.
    """

    packed: Tensor
    scales_and_zeros: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.n_rows = len(weight)
        levels, scales, zeros = _in_int4(weight)
        pairs = torch.stack([scales, zeros], dim=-1).transpose(0, 1)  # [K / 128, N, 2]
        self.register_buffer("packed", _packed(levels))
        self.register_buffer("scales_and_zeros", pairs.bfloat16().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, K] bfloat16 → [T, N]."""
        product = torch._weight_int4pack_mm if x.is_cuda else torch._weight_int4pack_mm_for_cpu
        out: Tensor = product(x.contiguous(), self.packed, INT4_GROUP, self.scales_and_zeros)
        return out


def _in_fp8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round rows so that the largest number of each is 448: e4m3 [T, K], float32 [T]."""
    x = x.float()
    largest = x.abs().amax(dim=1)
    scales = torch.where(largest > 0, largest / FP8_MAX, 1.0)
    rounded = (x / scales[:, None]).clamp(-FP8_MAX, FP8_MAX)
    return rounded.to(torch.float8_e4m3fn), scales


def _in_int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Round to 16 levels between each group's least and largest number.

    Returns: levels [N, K] int32 in 0 … 15; scales and zeros [N, K / 128]: a number is
        (level − 8) · scale + zero.
    """
    of_groups = weight.float().view(len(weight), -1, INT4_GROUP)
    least, largest = of_groups.amin(dim=2), of_groups.amax(dim=2)
    # As bfloat16 has them, so that levels fit the scales that are kept.
    scales = ((largest - least) / 15).clamp_min(1e-8).bfloat16().float()
    zeros = (least + 8 * scales).bfloat16().float()
    levels = ((of_groups - zeros[..., None]) / scales[..., None]).round().add(8).clamp(0, 15)
    return levels.flatten(1).int(), scales, zeros


def _packed(levels: Tensor) -> Tensor:
    if levels.is_cuda:
        pairs = levels[:, ::2] << 4 | levels[:, 1::2]
        return torch._convert_weight_to_int4pack(pairs.to(torch.uint8), _TILES)
    return torch._convert_weight_to_int4pack_for_cpu(levels, 1)
