"""What stands between the matrices of a layer: the Python face of `native/elementwise.h`."""

import torch
from torch import Tensor

from sirocco import native
from sirocco.native import _check_array, _check_built, _usable_isa


def swiglu(gate: Tensor, value: Tensor, *, isa: str | None = None) -> Tensor:
    """Compute silu(gate) ⊙ value; a row has the same bits whatever stands in the other rows.

    Args:
        gate, value: [T, N] float32, contiguous, on the CPU.
        isa: one of `native.isas()`; None takes the fastest.

    Returns: a new [T, N].
    Raises: TypeError, ValueError, BackendUnavailable.
    Source: Shazeer 2020.
    """
    _check_built()
    for name, tensor in (("gate", gate), ("value", value)):
        _check_array(name, tensor, 2)
    if gate.shape != value.shape:
        raise ValueError(
            f"gate and value must have one shape, got {list(gate.shape)}, {list(value.shape)}"
        )
    out = torch.empty_like(gate, requires_grad=False)
    native._kernels.swiglu(
        gate.data_ptr(),
        value.data_ptr(),
        out.data_ptr(),
        gate.shape[0],
        gate.shape[1],
        _usable_isa(isa),
    )
    return out


def rotate_(x: Tensor, cosine: Tensor, sine: Tensor, *, isa: str | None = None) -> Tensor:
    """Turn every pair (x[i], x[i + D/2]) by its position's angle, in place.

    Args:
        x: [T, H, D] float32, contiguous, on the CPU.  cosine, sine: [T, D/2], likewise.
        isa: one of `native.isas()`; None takes the fastest.

    Returns: x.
    Raises: TypeError, ValueError, BackendUnavailable.
    Source: Su 2021 §3.2.2.
    """
    _check_built()
    _check_array("x", x, 3)
    for name, tensor in (("cosine", cosine), ("sine", sine)):
        _check_array(name, tensor, 2)
    if not cosine.shape == sine.shape == (x.shape[0], x.shape[2] / 2):
        raise ValueError(
            f"cosine and sine must be [T, D/2] for x {list(x.shape)}, "
            f"got {list(cosine.shape)}, {list(sine.shape)}"
        )
    n_tokens, n_heads, d = x.shape
    native._kernels.rotate(
        x.data_ptr(), cosine.data_ptr(), sine.data_ptr(), n_tokens, n_heads, d, _usable_isa(isa)
    )
    return x
