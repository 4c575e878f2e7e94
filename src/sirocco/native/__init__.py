"""C++ kernels for the CPU. This room knows arrays and instruction sets, nothing of models.

The extension `_kernels` is built from `native/` when the package is installed; without it every
function here raises BackendUnavailable, and the rest of Sirocco works on in plain PyTorch.
"""

from functools import cache

import torch
from torch import Tensor

from sirocco.errors import BackendUnavailable

_not_built: ImportError | None = None
try:
    from sirocco.native import _kernels
except ImportError as error:
    _not_built = error

__all__ = ["cpu_features", "is_built", "isas", "n_threads", "rms_norm", "serves", "set_n_threads"]


def is_built() -> bool:
    """Tell whether the extension is there."""
    return _not_built is None


def serves(x: Tensor) -> bool:
    """Tell whether the kernels can compute on this tensor, and nobody wants a gradient of it."""
    return (
        _not_built is None
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.is_contiguous()
        and not (torch.is_grad_enabled() and x.requires_grad)
    )


def cpu_features() -> frozenset[str]:
    """Name the processor features that kernels ask for and this machine has.

    Raises: BackendUnavailable if the extension is not built.
    """
    _check_built()
    return frozenset(_kernels.cpu_features())


def isas() -> tuple[str, ...]:
    """List the instruction sets usable here, the fastest first; "scalar" is always the last.

    Raises: BackendUnavailable if the extension is not built.
    """
    _check_built()
    return tuple(_kernels.isas())


def n_threads() -> int:
    """Count the threads that work on a kernel, the caller's included: one per processor at first.

    Raises: BackendUnavailable if the extension is not built.
    """
    _check_built()
    return _kernels.n_threads()


def set_n_threads(n: int) -> None:
    """Let `n` threads work on each kernel; results have the same bits with any number.

    Raises: ValueError below 1; BackendUnavailable if the extension is not built.
    """
    _check_built()
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    _kernels.set_n_threads(n)


def rms_norm(x: Tensor, weight: Tensor, eps: float, *, isa: str | None = None) -> Tensor:
    """Scale each row to a root mean square of 1, then by `weight` per channel; no gradient.

    A row's result is the same bits whatever stands in the other rows.

    Args:
        x: [T, dim], contiguous float32 on the CPU.  weight: [dim], likewise.
        isa: one of `isas()`; None takes the fastest.

    Returns: a new [T, dim] tensor.
    Raises: TypeError for another dtype; ValueError for another shape, layout or device, or where
        autograd would want a gradient; BackendUnavailable if the extension or the isa is missing.
    Source: Zhang & Sennrich 2019, x / √(mean(x²) + eps) · weight.
    """
    _check_built()
    for name, tensor, n_dims in (("x", x, 2), ("weight", weight, 1)):
        _check_array(name, tensor, n_dims)
    if x.shape[1] == 0 or x.shape[1] != weight.shape[0]:
        raise ValueError(
            f"x has rows of {x.shape[1]} and weight has {weight.shape[0]}: "
            f"they must be equal and not 0"
        )
    out = torch.empty_like(x, requires_grad=False)
    _kernels.rms_norm(
        x.data_ptr(),
        weight.data_ptr(),
        eps,
        out.data_ptr(),
        x.shape[0],
        x.shape[1],
        _usable_isa(isa),
    )
    return out


def _check_built() -> None:
    if _not_built is not None:
        raise BackendUnavailable(
            "the C++ kernels are not built; `make setup` in the repository, or `pip install .`, "
            "builds them and needs a C++17 compiler"
        ) from _not_built


def _check_array(name: str, tensor: Tensor, n_dims: int) -> None:
    if tensor.dtype != torch.float32:
        raise TypeError(f"{name} is {tensor.dtype}; the kernel takes torch.float32")
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} is on {tensor.device}; the kernel runs on the CPU")
    if tensor.dim() != n_dims:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; it must have {n_dims} dimensions")
    if not tensor.is_contiguous():
        raise ValueError(f"{name} is not contiguous; call .contiguous() first")
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{name} wants a gradient; the kernel has none: use torch.no_grad()")


@cache
def _usable_isa(wanted: str | None) -> str:
    usable = _kernels.isas()
    if wanted is None:
        return usable[0]
    if wanted not in usable:
        raise BackendUnavailable(f"isa {wanted!r} is not usable here; usable: {', '.join(usable)}")
    return wanted
