"""Whole layers in one call: the Python face of `native/layer.h`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from sirocco import native
from sirocco.native import _check_array, _check_built, _usable_isa
from sirocco.native.linear import Matrix

if TYPE_CHECKING:
    from sirocco.native import _kernels


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """The weights of one layer, checked to fit together.

    Attributes:
        attention_norm, feed_forward_norm: [dim] float32.
        wq, wk, wv, wo, w1, w2, w3: as in `model/layers.py`.

    Raises: ValueError if they are not those of one layer; BackendUnavailable.
    """

    attention_norm: Tensor
    feed_forward_norm: Tensor
    eps: float
    n_heads: int
    wq: Matrix
    wk: Matrix
    wv: Matrix
    wo: Matrix
    w1: Matrix
    w2: Matrix
    w3: Matrix
    handle: "_kernels.LayerWeights" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_built()
        matrices = (self.wq, self.wk, self.wv, self.wo, self.w1, self.w2, self.w3)
        norms = (self.attention_norm.detach(), self.feed_forward_norm.detach())
        wq, wk, wv, wo, w1, w2, w3 = (matrix.handle for matrix in matrices)
        handle = native._kernels.LayerWeights(
            norms[0], norms[1], self.eps, self.n_heads,
            wq, wk, wv, wo, w1, w2, w3, owned=(matrices, norms),
        )  # fmt: skip
        object.__setattr__(self, "handle", handle)


def run_layers_(
    layers: Sequence[LayerWeights],
    x: Tensor,
    rotation: tuple[Tensor, Tensor],
    kv: "list[_kernels.KvLayer]",
    plan: "_kernels.AttentionPlan",
    *,
    isa: str | None = None,
) -> None:
    """Advance the residual stream by these layers, in place; the keys and values are stored.

    Args:
        x: [T, dim] float32, contiguous, on the CPU.
        rotation: cosine and sine of the tokens' angles, two [T, D/2], likewise.
        kv: of each layer.

    Raises: TypeError, ValueError for what does not fit together.
    """
    cosine, sine = rotation
    first = layers[0]
    for name, tensor in (("x", x), ("cosine", cosine), ("sine", sine)):
        _check_array(name, tensor, 2)
    if x.shape[1] != first.wq.n_columns:
        raise ValueError(f"x must have rows of {first.wq.n_columns}, got {x.shape[1]}")
    if not cosine.shape == sine.shape == (x.shape[0], first.wq.n_rows / first.n_heads / 2):
        raise ValueError(f"cosine and sine must be [T, D/2], got {list(cosine.shape)}")
    native._kernels.run_layers(
        [weights.handle for weights in layers],
        x.data_ptr(),
        x.shape[0],
        cosine.data_ptr(),
        sine.data_ptr(),
        kv,
        plan,
        _usable_isa(isa),
    )
