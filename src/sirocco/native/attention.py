"""Attention over the blocks of a KV cache: the Python face of `native/attention.h`.

A `KvLayer` points into the tensors of one layer and is made once; an `AttentionPlan` holds what
all layers of a step share and is made once a step; `paged_attention` runs once a layer.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sirocco import native
from sirocco.native import _check_array, _check_built, _usable_isa

if TYPE_CHECKING:
    from sirocco.native import _kernels


def kv_layer(
    k: Tensor, v: Tensor, k_scales: Tensor | None = None, v_scales: Tensor | None = None
) -> "_kernels.KvLayer":
    """Point at the keys and values of one layer, in N blocks of P positions.

    Args:
        k, v: [N, K, D, P] and [N, K, P, D], float32, float16 or int8, contiguous, on the CPU.
        k_scales, v_scales: [N, K, P] float32, with int8 alone.

    Raises: TypeError, ValueError for tensors that do not fit; BackendUnavailable.
    """
    _check_built()
    return native._kernels.KvLayer(k, v, k_scales, v_scales)


def attention_plan(
    spans: NDArray[np.int64],
    block_ids: NDArray[np.int32],
    *,
    n_blocks: int,
    block_size: int,
    window: int | None,
) -> "_kernels.AttentionPlan":
    """Work out where each token of a step goes, and check that its keys are there.

    Args:
        spans: [B, 4]: first position, number of tokens, of blocks, of reclaimed blocks.
        block_ids: the blocks of all spans, end to end.

    Raises: ValueError for a block that is not in the cache, for a span that has too few blocks,
        no tokens, or that has given back a block which its window still sees; BackendUnavailable.
    """
    _check_built()
    return native._kernels.AttentionPlan(spans, block_ids, n_blocks, block_size, window)


def paged_attention(
    layer: "_kernels.KvLayer",
    plan: "_kernels.AttentionPlan",
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    isa: str | None = None,
) -> Tensor:
    """Store the step's keys and values, then attend; no gradient.

    A token's result has the same bits whatever else the step holds, however its sequence was cut
    into steps, whichever blocks hold it and of whatever size, and with any number of threads.

    Args:
        q: [T, H, D] float32, contiguous, on the CPU.  k, v: [T, K, D] likewise; K divides H.
        isa: one of `native.isas()`; None takes the fastest. A head_dim that is no multiple of 8,
            or above 256, is always computed by "scalar".

    Returns: a new [T, H, D].
    Raises: TypeError, ValueError for arguments that do not fit; BackendUnavailable.
    """
    _check_built()
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        _check_array(name, tensor, 3)
    out = torch.empty_like(q, requires_grad=False)
    native._kernels.paged_attention(
        layer,
        plan,
        # An array of numpy is taken over three times as fast as a tensor.
        q.detach().numpy(),
        k.detach().numpy(),
        v.detach().numpy(),
        out.numpy(),
        _usable_isa(isa),
    )
    return out
