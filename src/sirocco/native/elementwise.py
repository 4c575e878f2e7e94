"""What stands between the matrices of a layer: the Python face of `native/elementwise.h`."""

import torch
from torch import Tensor

from sirocco.native import _check_array, _check_built, _kernels, _usable_isa


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
    out = torch.empty_like(gate, requires_grad=False)
    _kernels.swiglu(gate.detach(), value.detach(), out, _usable_isa(isa))
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
    _kernels.rotate(x, cosine, sine, _usable_isa(isa))
    return x
