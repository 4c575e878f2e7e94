"""Attention over blocks by the kernels of FlashInfer, an extra: a peer of ours, and their judge.

It computes what `triton_paged.py` does for caches of 16 bits, from tables that it builds on the
host in each step. FlashInfer compiles its kernels with nvcc on their first use.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sirocco.attention.base import Attend, Span
from sirocco.errors import BackendUnavailable
from sirocco.kvcache.pool import KVCache

HEAD_DIMS = (64, 128, 256)
"""Widths of a head that its kernels are made for."""

DTYPES = (torch.float16, torch.bfloat16)
"""Types of a cache that it reads; of fp8 it takes one scale for all, where ours has one a slot."""

_WORKSPACE_BYTES = 128 * 2**20
"""As its documentation recommends."""

_LARGE_GROUP = 4
"""Query heads for each KV head from which on it recommends tensor cores in decode."""


def has_flashinfer() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("flashinfer") is not None


@dataclass(frozen=True, slots=True)
class PagedTables:
    """What FlashInfer calls page tables, on the host: int32.

    Attributes:
        qo_indptr: [B + 1], first row of each sequence in the step, and the number of rows.
        kv_indptr: [B + 1], first of each sequence's blocks in `kv_indices`.
        kv_indices: block ids, those that hold a position of the sequence; what was given back
            before them is left out, as positions count from the first block here.
        last_page_len: [B], positions in each sequence's last block, 1 … block_size.
    """

    qo_indptr: Tensor
    kv_indptr: Tensor
    kv_indices: Tensor
    last_page_len: Tensor

    @classmethod
    def of(cls, spans: Sequence[Span], block_size: int) -> "PagedTables":
        """Lay the spans' tables end to end.

        With blocks of 4, a span of 2 tokens at position 13 and 2 blocks given back: positions
        8 … 14 are in 2 blocks, of which the last has 3 positions.
        """
        n_held = [s.first_position + s.n_tokens - s.n_reclaimed * block_size for s in spans]
        tables = [
            span.block_ids[: -(-n // block_size)] for span, n in zip(spans, n_held, strict=True)
        ]
        return cls(
            _sums([span.n_tokens for span in spans]),
            _sums([len(table) for table in tables]),
            torch.tensor([block_id for table in tables for block_id in table], dtype=torch.int32),
            torch.tensor([(n - 1) % block_size + 1 for n in n_held], dtype=torch.int32),
        )


@dataclass(frozen=True, slots=True)
class FlashInferPlan:
    """A step that is planned in one of FlashInfer's wrappers.

    Attributes:
        slots: [T] int64, where each row's key and value go.
        wrapper: the one that will run it.
    """

    slots: Tensor
    wrapper: Any


class FlashInferBackend:
    """Hands the cache's own tensors to FlashInfer: their layout is its "NHD".

    Args:
        group_size: query heads for each KV head.

    Raises: BackendUnavailable if FlashInfer is not installed, or does not take the cache.
    Source: Ye 2025 (FlashInfer).
    """

    def __init__(self, cache: KVCache, *, group_size: int, window: int | None = None) -> None:
        _check(cache)
        flashinfer = importlib.import_module("flashinfer")
        self.cache, self._group, self._window = cache, group_size, window
        _, self._block_size, self._n_kv_heads, self._head_dim = cache.k[0].shape
        # One runs at a time, so they share it.
        workspace = torch.zeros(_WORKSPACE_BYTES, dtype=torch.uint8, device=cache.device)
        self._mixed = flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD")
        self._decode = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
            workspace, "NHD", use_tensor_cores=group_size >= _LARGE_GROUP, backend="fa2"
        )

    def plan(self, spans: Sequence[Span]) -> FlashInferPlan:
        """See `AttentionBackend.plan`."""
        tables = PagedTables.of(spans, self._block_size)
        heads = (self._group * self._n_kv_heads, self._n_kv_heads, self._head_dim)
        pages = (tables.kv_indptr, tables.kv_indices, tables.last_page_len)
        options = {
            "window_left": -1 if self._window is None else self._window - 1,
            "q_data_type": self.cache.dtype, "kv_data_type": self.cache.dtype,
        }  # fmt: skip
        if all(span.n_tokens == 1 for span in spans):
            wrapper = self._decode
            wrapper.plan(*pages, *heads, self._block_size, **options)
        else:
            wrapper = self._mixed
            wrapper.plan(tables.qo_indptr, *pages, *heads, self._block_size, causal=True, **options)
        slots = torch.cat([_slots(span, self._block_size) for span in spans])
        return FlashInferPlan(slots.to(self.cache.device), wrapper)

    def bind(self, plan: FlashInferPlan) -> Attend:
        """See `AttentionBackend.bind`."""
        return partial(self.attend, plan=plan)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layer: int, plan: FlashInferPlan) -> Tensor:
        """See `AttentionBackend.attend`."""
        self.cache.write(layer, plan.slots, k, v)
        queries = q.to(self.cache.dtype).contiguous()
        out: Tensor = plan.wrapper.run(queries, (self.cache.k[layer], self.cache.v[layer]))
        return out.to(q.dtype)


def _check(cache: KVCache) -> None:
    if not has_flashinfer():
        raise BackendUnavailable(
            "attention 'flashinfer' needs the package: pip install 'sirocco[flashinfer]'"
        )
    if cache.dtype not in DTYPES:
        named = str(cache.dtype).removeprefix("torch.")
        raise BackendUnavailable(
            f"attention 'flashinfer' needs a cache of float16 or bfloat16, got {named}"
        )
    head_dim = cache.k[0].shape[3]
    if head_dim not in HEAD_DIMS:
        known = ", ".join(map(str, HEAD_DIMS))
        raise BackendUnavailable(
            f"attention 'flashinfer' needs heads of {known}, got head_dim {head_dim}"
        )


def _sums(lengths: Sequence[int]) -> Tensor:
    """Add up: [B] → [B + 1] int32, from 0 on."""
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


def _slots(span: Span, block_size: int) -> Tensor:
    """Slots of a span's own tokens: [n_tokens] int64."""
    positions = torch.arange(span.first_position, span.first_position + span.n_tokens)
    block_ids = torch.tensor(span.block_ids)[positions // block_size - span.n_reclaimed]
    return block_ids * block_size + positions % block_size
