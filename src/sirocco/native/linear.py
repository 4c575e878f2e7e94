"""Linear layers of 4 and 8 bits, and of float32 whose bits depend on no other row.

The Python face of the kernels in `native/linear.h` and `native/linear_float.h`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sirocco import native
from sirocco.native import _check_array, _check_built, _usable_isa

if TYPE_CHECKING:
    from sirocco.native import _kernels

GROUP = 32
"""Neighbouring weights of a row that share a scale."""

TILE_ROWS = 16

PANEL_ROWS = 32


@dataclass(frozen=True, slots=True)
class QuantizedMatrix:
    """A matrix [N, K] of 4 or 8 bits a weight, and a float16 scale for each group of 32.

    Attributes:
        tiles: [⌈N/16⌉, K/32, 256 (4 bits) or 512 (8 bits)] uint8; `native/linear.h` draws one.
        scales: [⌈N/16⌉, K/32, 16] float16.
        n_rows: N.

    Raises: ValueError if the shapes are not those of a matrix; BackendUnavailable.
    """

    tiles: Tensor
    scales: Tensor
    n_rows: int
    handle: "_kernels.Matrix" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_built()
        handle = native._kernels.matrix(self.tiles, self.scales.view(torch.int16), self.n_rows)
        object.__setattr__(self, "handle", handle)

    @property
    def n_columns(self) -> int:
        """K."""
        return self.tiles.shape[1] * GROUP

    @property
    def bits(self) -> int:
        """Of a weight: 4 or 8."""
        return self.tiles.shape[2] * 8 // (TILE_ROWS * GROUP)


@dataclass(frozen=True, slots=True)
class FloatMatrix:
    """A matrix [N, K] of float32, in the order in which the kernels read it.

    Attributes:
        panels: [⌈N/32⌉, K, 32] float32; `native/linear_float.h` describes them.
        n_rows: N.

    Raises: ValueError if the shape is not that of a matrix; BackendUnavailable.
    """

    panels: Tensor
    n_rows: int
    handle: "_kernels.Matrix" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_built()
        handle = native._kernels.float_matrix(self.panels, self.n_rows)
        object.__setattr__(self, "handle", handle)

    @property
    def n_columns(self) -> int:
        """K."""
        return self.panels.shape[1]


Matrix = QuantizedMatrix | FloatMatrix


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
    native._kernels.quantize(weight.detach(), bits, tiles, scales.view(torch.int16))
    return QuantizedMatrix(tiles, scales, n_rows)


def pack(weight: Tensor) -> FloatMatrix:
    """Put a matrix [N, K] float32 in the order in which the kernels read it; no bit is lost.

    Raises: TypeError, ValueError for what the kernel cannot take; BackendUnavailable.
    """
    _check_built()
    weight = weight.detach()
    _check_array("weight", weight, 2)
    n_rows, n_columns = weight.shape
    panels = torch.empty(-(-n_rows // PANEL_ROWS), n_columns, PANEL_ROWS)
    native._kernels.pack(weight, panels)
    return FloatMatrix(panels, n_rows)


def settle(mapped: Tensor) -> Tensor:
    """Copy a tensor of a mapped file, only read so far, into large pages of its own memory.

    Weights are read end to end for every token, a tenth faster from large pages. The file's pages
    are let go of, so that the process does not hold them twice.

    Args:
        mapped: contiguous, on the CPU; any dtype.

    Returns: an equal tensor.
    """
    _check_built()
    out = torch.empty_like(mapped)
    native._kernels.settle(mapped.view(torch.uint8).flatten(), out.view(torch.uint8).flatten())
    return out


def rows_of(matrix: Matrix, rows: Tensor | None = None) -> Tensor:
    """Give rows of the matrix as floats: [R, K] float32.

    Args:
        rows: [R] int64 on the CPU; None is all of them.

    Raises: ValueError if a row is not in the matrix.
    """
    rows = torch.arange(matrix.n_rows) if rows is None else rows.contiguous()
    out = torch.empty(len(rows), matrix.n_columns)
    native._kernels.float_rows(matrix.handle, rows, out)
    return out


def linear(x: Tensor, matrices: Sequence[Matrix], *, isa: str | None = None) -> list[Tensor]:
    """Multiply activations with one or several matrices: x Wᵀ for each, in one go.

    For rounded matrices activations are rounded, too, to 8 bits in groups of 32. A row of a
    result has the same bits whatever the other rows are, with any isa and any number of threads.

    Args:
        x: [T, K] float32, contiguous, on the CPU.
        isa: one of `native.isas()`; None takes the fastest.

    Returns: a new [T, N] float32 for each matrix; a row with a NaN or an infinity gives NaNs.
    Raises: TypeError, ValueError, BackendUnavailable.
    """
    _check_array("x", x, 2)
    outs = [torch.empty(x.shape[0], matrix.n_rows) for matrix in matrices]
    _run(x, matrices, outs, adds=False, isa=isa)
    return outs


def add_linear(residual: Tensor, x: Tensor, matrix: Matrix, *, isa: str | None = None) -> None:
    """Add x Wᵀ to `residual` in place, as `linear` computes it.

    Args:
        residual: [T, N] float32, contiguous, on the CPU.  x: [T, K], likewise.

    Raises: TypeError, ValueError, BackendUnavailable.
    """
    _check_array("residual", residual, 2)
    _check_array("x", x, 2)
    if residual.shape != (x.shape[0], matrix.n_rows):
        raise ValueError(
            f"residual must be {[x.shape[0], matrix.n_rows]}, got {list(residual.shape)}"
        )
    _run(x, [matrix], [residual], adds=True, isa=isa)


def _run(
    x: Tensor,
    matrices: Sequence[Matrix],
    outs: Sequence[Tensor],
    *,
    adds: bool,
    isa: str | None,
) -> None:
    native._kernels.linear(
        x.data_ptr(),
        x.shape[0],
        x.shape[1],
        [matrix.handle for matrix in matrices],
        [out.data_ptr() for out in outs],
        adds,
        _usable_isa(isa),
    )
