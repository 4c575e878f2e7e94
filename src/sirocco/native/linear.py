"""Linear layers of 4 and 8 bits: the Python face of the kernels in `native/linear.h`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sirocco.native import _check_array, _check_built, _kernels, _usable_isa

GROUP = 32
"""Neighbouring weights of a row that share a scale."""

TILE_ROWS = 16


@dataclass(frozen=True, slots=True)
class QuantizedMatrix:
    """A matrix [N, K] of 4 or 8 bits a weight, and a float16 scale for each group of 32.

    Attributes:
        tiles: [⌈N/16⌉, K/32, 256 (4 bits) or 512 (8 bits)] uint8; `native/linear.h` draws one.
        scales: [⌈N/16⌉, K/32, 16] float16.
        n_rows: N.
    """

    tiles: Tensor
    scales: Tensor
    n_rows: int

    @property
    def n_columns(self) -> int:
        """K."""
        return self.tiles.shape[1] * GROUP


def tile_shapes(n_rows: int, n_columns: int, bits: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the tiles and of the scales of a matrix [N, K].

    Raises: ValueError if bits is neither 4 nor 8, or K no multiple of 32.
    """
    if bits not in (4, 8):
        raise ValueError(f"bits must be 4 or 8, got {bits}")
    if n_columns == 0 or n_columns % GROUP:
        raise ValueError(f"a row must have a multiple of {GROUP} weights, got {n_columns}")
    n_stripes, n_groups = -(-n_rows // TILE_ROWS), n_columns // GROUP
    return (n_stripes, n_groups, TILE_ROWS * GROUP * bits // 8), (n_stripes, n_groups, TILE_ROWS)


def quantize(weight: Tensor, bits: int) -> QuantizedMatrix:
    """Round a matrix [N, K] float32 to 4 or 8 bits a weight, with the best scale of each group.

    Raises: TypeError, ValueError for what the kernel cannot take; BackendUnavailable.
    """
    _check_built()
    _check_array("weight", weight, 2)
    n_rows, n_columns = weight.shape
    tiles_shape, scales_shape = tile_shapes(n_rows, n_columns, bits)
    tiles = torch.empty(tiles_shape, dtype=torch.uint8)
    scales = torch.empty(scales_shape, dtype=torch.float16)
    _kernels.quantize(weight.detach(), bits, tiles, scales.view(torch.int16))
    return QuantizedMatrix(tiles, scales, n_rows)


def dequantize(matrix: QuantizedMatrix, rows: Tensor | None = None) -> Tensor:
    """Give rows of the matrix as floats: [R, K] float32.

    Args:
        rows: [R] int64 on the CPU; None is all of them.

    Raises: ValueError if a row is not in the matrix.
    """
    _check_built()
    rows = torch.arange(matrix.n_rows) if rows is None else rows.contiguous()
    out = torch.empty(len(rows), matrix.n_columns)
    _kernels.dequantize_rows(
        matrix.tiles, matrix.scales.view(torch.int16), matrix.n_rows, rows, out
    )
    return out


def linear(
    x: Tensor, matrices: Sequence[QuantizedMatrix], *, isa: str | None = None
) -> list[Tensor]:
    """Multiply activations with one or several matrices: x Wᵀ for each, in one go.

    Activations are rounded to 8 bits in groups of 32. A row of a result has the same bits
    whatever the other rows are, with any isa and any number of threads.

    Args:
        x: [T, K] float32, contiguous, on the CPU.
        isa: one of `native.isas()`; None takes the fastest.

    Returns: a new [T, N] float32 for each matrix; a row with a NaN or an infinity gives NaNs.
    Raises: TypeError, ValueError, BackendUnavailable.
    """
    _check_built()
    _check_array("x", x, 2)
    outs = [torch.empty(x.shape[0], matrix.n_rows) for matrix in matrices]
    _kernels.linear(
        x.detach(),
        [matrix.tiles for matrix in matrices],
        [matrix.scales.view(torch.int16) for matrix in matrices],
        [matrix.n_rows for matrix in matrices],
        outs,
        False,
        _usable_isa(isa),
    )
    return outs


def add_linear(
    residual: Tensor, x: Tensor, matrix: QuantizedMatrix, *, isa: str | None = None
) -> None:
    """Add x Wᵀ to `residual` in place, as `linear` computes it.

    Args:
        residual: [T, N] float32, contiguous, on the CPU.  x: [T, K], likewise.

    Raises: TypeError, ValueError, BackendUnavailable.
    """
    _check_built()
    _check_array("residual", residual, 2)
    _check_array("x", x, 2)
    _kernels.linear(
        x.detach(),
        [matrix.tiles],
        [matrix.scales.view(torch.int16)],
        [matrix.n_rows],
        [residual],
        True,
        _usable_isa(isa),
    )
