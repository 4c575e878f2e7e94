"""Attention over blocks with the project's own C++ kernels, on the CPU.

Prefill and decode are one kernel. A token's result does not depend on its batch mates, on how
its prompt was cut or on where its blocks lie, not even in the last bit: `native/attention.h`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from sirocco.attention.base import Rotation, Span
from sirocco.kvcache.pool import NativeKVCache
from sirocco.native.attention import attention_plan, kv_layer, paged_attention
from sirocco.native.layer import LayerWeights, run_layers_

if TYPE_CHECKING:
    from sirocco.native import _kernels


class NativePagedBackend:
    """Reads the blocks where they lie; each tile of keys once for all heads of its group.

    Args:
        isa: one of `native.isas()`; None takes the fastest.

    Raises: BackendUnavailable if the extension or the isa is missing.
    Source: Kwon 2023 §4.1 (attention over blocks); Ainslie 2023 §2.2 (groups).
    """

    def __init__(
        self, cache: NativeKVCache, *, window: int | None = None, isa: str | None = None
    ) -> None:
        self.cache, self._window, self._isa = cache, window, isa
        self._layers = [
            kv_layer(*tensors)
            for tensors in zip(cache.k, cache.v, cache.k_scales, cache.v_scales, strict=True)
        ]

    def plan(self, spans: Sequence[Span]) -> "_kernels.AttentionPlan":
        """See `AttentionBackend.plan`. Raises: ValueError for blocks that do not fit the spans."""
        rows = [(s.first_position, s.n_tokens, len(s.block_ids), s.n_reclaimed) for s in spans]
        return attention_plan(
            np.array(rows, dtype=np.int64),
            np.fromiter(chain.from_iterable(s.block_ids for s in spans), dtype=np.int32),
            n_blocks=self.cache.n_blocks,
            block_size=self.cache.block_size,
            window=self._window,
        )

    def bind(self, plan: "_kernels.AttentionPlan") -> "BoundAttend":
        """See `AttentionBackend.bind`; what it returns can run whole layers, too."""
        return BoundAttend(self, plan)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, layer: int, plan: "_kernels.AttentionPlan"
    ) -> Tensor:
        """See `AttentionBackend.attend`; the arithmetic is float32 whatever q's dtype."""
        out = paged_attention(
            self._layers[layer],
            plan,
            q.float().contiguous(),
            k.float().contiguous(),
            v.float().contiguous(),
            isa=self._isa,
        )
        return out.to(q.dtype)

    def run_layers(
        self,
        layers: Sequence[LayerWeights],
        x: Tensor,
        rotation: Rotation,
        plan: "_kernels.AttentionPlan",
    ) -> None:
        """Advance x [T, dim] through all layers, in place."""
        run_layers_(layers, x, rotation, self._layers, plan, isa=self._isa)


@dataclass(frozen=True, slots=True)
class BoundAttend:
    """Attention of one step: an `Attend` that also `RunsLayers`."""

    backend: NativePagedBackend
    plan: "_kernels.AttentionPlan"

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, layer: int) -> Tensor:
        """See `Attend`."""
        return self.backend.attend(q, k, v, layer, self.plan)

    def run_layers(self, layers: Sequence[LayerWeights], x: Tensor, rotation: Rotation) -> None:
        """See `RunsLayers`."""
        self.backend.run_layers(layers, x, rotation, self.plan)
