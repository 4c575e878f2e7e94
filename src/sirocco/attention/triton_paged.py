"""Attention over blocks with the project's own Triton kernels, on a GPU.

Prefill and decode, and any mix of them, are one launch; what it computes and what holds its bits
together is told in `triton_kernels.py`. On a CPU the kernels run in Triton's interpreter alone
(`TRITON_INTERPRET=1` before the first import), which is for tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from sirocco.attention.base import Rotation, Span
from sirocco.attention.triton_kernels import (
    N_BLOCK_FIELDS,
    append_kernel,
    attend_kernel,
    merge_kernel,
)
from sirocco.errors import BackendUnavailable
from sirocco.kvcache.pool import KVCache

_LOG2_E = 1.4426950408889634
_AT_ONCE = 8
_FEW = 256
"""Tokens up to which each is appended by programs of its own."""

_NUMBERS_OF_WARP = 512
"""Halves of queries that a warp of `append_kernel` turns: 16 numbers and 16 partners a thread."""

_INTERPRETED_TOKENS = 64
"""The interpreter runs programs one after the other, whatever their size."""

_ALIGNED = 4  # numbers of 4 bytes: Triton compiles apart what lies at no multiple of 16 bytes


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the kernels cut their work. Results of one tiling have the same bits.

    Attributes:
        rows: query heads of tokens in a tile; a power of two, at least 16 and the group's size.
        keys: in a tile; a power of two, at least 16.
        split: keys that a program adds up for itself; a multiple of `keys`.
        warps, stages: of a program; tiles whose loads are under way.
    """

    rows: int = 64
    keys: int = 32
    split: int = 256
    warps: int = 4
    stages: int = 3

    @classmethod
    def of(cls, group_size: int, capability: int = 90) -> "Tiling":
        """Choose for a group of heads and a compute capability, such that no register spills.

        A split leaves a sum per head behind, so where many heads share its keys it is longer, or
        the sums would be as large as what was read. `benchmarks/gpu_kernels.py` counts registers.
        """
        rows, keys = (64, 32) if capability >= 90 else (32, 64)
        rows = max(rows, triton.next_power_of_2(group_size))
        return cls(rows=rows, keys=keys, split=256 if group_size <= 8 else 512)


@dataclass(frozen=True, slots=True)
class TritonPlan:
    """What the kernels read of a step, on the device.

    Attributes:
        blocks: [NB, 8] int32, the query blocks: first row in the step; its position; tokens, 0
            for none; row of `tables`; row of the partial sums or −1 where the block is not a
            token in decode; blocks that were given back.
        tables: [B, M] int32 block ids.
        slots: [T] int32, where each row's key and value go; below 0 nowhere.
        decodes: every block is a token in decode.
        n_split_programs: programs that share the splits of a token; 1 where none are shared.
        n_partials: splits of a token that the partial sums have places for.
    """

    blocks: Tensor
    tables: Tensor
    slots: Tensor
    decodes: bool
    n_split_programs: int
    n_partials: int


class TritonPagedBackend:
    """Reads the blocks where they lie; each tile of keys once for all heads of its group.

    A float8 cache keeps a scale for each position and KV head, so a slot depends on its own
    token alone, is never written twice, and needs no calibration.

    Raises: BackendUnavailable if the cache is not on a GPU, or the GPU is too old for its dtype.
    Source: Kwon 2023 §4.1 (attention over blocks); Ainslie 2023 §2.2 (groups); Dao 2023 and
        Flash-Decoding 2023 (online softmax; splits over the keys).
    """

    def __init__(
        self, cache: KVCache, *, group_size: int, window: int | None = None,
        tiling: Tiling | None = None,
    ) -> None:  # fmt: skip
        _check_device(cache)
        self.cache, self._window, self._group = cache, window, group_size
        self.tiling = tiling or Tiling.of(group_size, _capability(cache.device))
        if self.tiling.rows < group_size or self.tiling.split % self.tiling.keys:
            raise ValueError(f"{self.tiling} does not suit groups of {group_size} heads")
        _, _, self._n_kv_heads, self._head_dim = cache.k[0].shape
        self._partials = self._empty_partials(0, 1)

    @property
    def tokens_per_block(self) -> int:
        """Tokens of a sequence that share a tile."""
        return self.tiling.rows // self._group

    @property
    def n_partials(self) -> int:
        """Splits of a token that there is room for, to add up what was computed side by side."""
        return self._partials[0].shape[1]

    def n_splits(self, position: int) -> int:
        """Count the splits that the token at this position looks into."""
        first_key = 0 if self._window is None else max(0, position - self._window + 1)
        return position // self.tiling.split - first_key // self.tiling.split + 1

    def most_splits(self, max_seq_len: int) -> int:
        """Count the splits that a token of a sequence this long looks into, at most."""
        whole = -(-max_seq_len // self.tiling.split)
        if self._window is None:
            return whole
        return min(whole, (self._window - 2) // self.tiling.split + 2)

    def reserve(self, n_rows: int, n_partials: int) -> None:
        """Make room for the partial sums of decoding tokens, unless there is enough.

        A CUDA graph remembers where the sums were, so reserve the most before the first capture.
        """
        n_before, n_partials_before = self._partials[0].shape[:2]
        if n_rows > n_before or n_partials > n_partials_before:
            self._partials = self._empty_partials(
                max(n_rows, n_before), max(n_partials, n_partials_before)
            )

    def plan(self, spans: Sequence[Span]) -> TritonPlan:
        """See `AttentionBackend.plan`."""
        blocks, n_shared = self._blocks(spans)
        tables = _tables(spans)
        slots = np.concatenate([_slots(span, self.cache.block_size) for span in spans])
        most = max((self.n_splits(s.first_position) for s in spans if s.n_tokens == 1), default=1)
        if most > 1:
            self.reserve(n_shared, most)
        on_device = _copied([blocks, tables, slots], self.cache.device)
        decodes = all(span.n_tokens == 1 for span in spans)
        return TritonPlan(
            blocks=on_device[0], tables=on_device[1], slots=on_device[2], decodes=decodes,
            n_split_programs=most, n_partials=self.n_partials,
        )  # fmt: skip

    def bind(self, plan: TritonPlan) -> "BoundAttend":
        """See `AttentionBackend.bind`; what it returns rotates, too."""
        return BoundAttend(self, plan)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layer: int, plan: TritonPlan) -> Tensor:
        """See `AttentionBackend.attend`."""
        self._append(q, k, v, None, layer=layer, plan=plan)
        return self._attend(_by_head(q), layer, plan)

    def rotate_and_attend(
        self, q: Tensor, k: Tensor, v: Tensor, rotation: Rotation, *, layer: int, plan: TritonPlan
    ) -> Tensor:
        """Attend with q and k that are not rotated yet: rotation and append are one kernel."""
        rotated = self._append(q, k, v, rotation, layer=layer, plan=plan)
        return self._attend(rotated, layer, plan)

    def _append(
        self, q: Tensor, k: Tensor, v: Tensor, rotation: Rotation | None, *, layer: int,
        plan: TritonPlan,
    ) -> Tensor:  # fmt: skip
        q, k, v = _by_head(q), _by_head(k), _by_head(v)
        out = q if rotation is None else torch.empty(q.shape, dtype=q.dtype, device=q.device)
        cos, sin = (q, q) if rotation is None else rotation  # never read without a rotation
        k_cache, v_cache, k_scales, v_scales = self._cache_of(layer)
        padded_group = triton.next_power_of_2(self._group)
        padded_half = triton.next_power_of_2(self._head_dim // 2)
        tokens, warps = append_sizes(len(q), padded_group, padded_half)
        append_kernel[triton.cdiv(len(q), tokens), self._n_kv_heads](
            out, q, k, v, k_cache, v_cache, k_scales, v_scales, plan.slots, cos, sin, len(q),
            Q_STRIDE=q.stride(0), K_STRIDE=k.stride(0), V_STRIDE=v.stride(0),
            GROUP=self._group, PADDED_GROUP=padded_group,
            N_KV_HEADS=self._n_kv_heads, HEAD_DIM=self._head_dim,
            PADDED_HALF=padded_half, TOKENS=tokens,
            ROTATES=rotation is not None, HAS_SCALES=self.cache.has_scales,
            ROUNDS=_is_interpreted(), num_warps=warps,
        )  # fmt: skip
        return out

    def _attend(self, q: Tensor, layer: int, plan: TritonPlan) -> Tensor:
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        tiling = self.tiling
        shape = {
            "GROUP": self._group, "N_KV_HEADS": self._n_kv_heads, "HEAD_DIM": self._head_dim,
            "PADDED_DIM": max(16, triton.next_power_of_2(self._head_dim)),
            "WINDOW": self._window or 0, "SPLIT": tiling.split,
            "HAS_SCALES": self.cache.has_scales,
        }  # fmt: skip
        attend_kernel[self._n_kv_heads, len(plan.blocks), plan.n_split_programs](
            out, q, *self._cache_of(layer), plan.tables, plan.blocks, *self._partials,
            self._head_dim**-0.5 * _LOG2_E, plan.tables.stride(0), plan.n_partials,
            Q_STRIDE=q.stride(0), BLOCK_SIZE=self.cache.block_size, ROWS=tiling.rows,
            KEYS=tiling.keys, DECODES=plan.decodes,
            UPCAST=_is_interpreted() and torch.bfloat16 in (q.dtype, self.cache.dtype),
            num_warps=tiling.warps, num_stages=tiling.stages, **shape,
        )  # fmt: skip
        if plan.n_split_programs > 1:
            merge_kernel[self._n_kv_heads, len(plan.blocks)](
                out, plan.blocks, *self._partials, plan.n_partials,
                PADDED_GROUP=triton.next_power_of_2(self._group), AT_ONCE=_AT_ONCE,
                num_warps=4, **shape,
            )  # fmt: skip
        return out

    def _cache_of(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        k, v = self.cache.k[layer], self.cache.v[layer]
        k_scales, v_scales = self.cache.k_scales[layer], self.cache.v_scales[layer]
        return k, v, k if k_scales is None else k_scales, v if v_scales is None else v_scales

    def _empty_partials(self, n_rows: int, n_partials: int) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted sums [R, S, H, D], maxima and sums of weights [R, S, H] of splits; float32."""
        sums = (n_rows, n_partials, self._group * self._n_kv_heads)
        device = self.cache.device
        return (
            torch.empty(*sums, self._head_dim, device=device),
            torch.empty(sums, device=device),
            torch.empty(sums, device=device),
        )

    def _blocks(self, spans: Sequence[Span]) -> tuple[NDArray[np.int32], int]:
        """Cut spans into query blocks; count the tokens whose splits are shared out."""
        blocks, row, n_shared = list[tuple[int, ...]](), 0, 0
        per_block = self.tokens_per_block
        for table, span in enumerate(spans):
            partial = -1
            if span.n_tokens == 1 and self.n_splits(span.first_position) > 1:
                partial, n_shared = n_shared, n_shared + 1
            for first in range(0, span.n_tokens, per_block):
                n_tokens = min(per_block, span.n_tokens - first)
                blocks.append(
                    (row + first, span.first_position + first, n_tokens, table, partial,
                     span.n_reclaimed, 0, 0)
                )  # fmt: skip
            row += span.n_tokens
        return np.array(blocks, dtype=np.int32).reshape(-1, N_BLOCK_FIELDS), n_shared


@dataclass(frozen=True, slots=True)
class BoundAttend:
    """Attention of one step: an `Attend` that also `Rotates`."""

    backend: TritonPagedBackend
    plan: TritonPlan

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, layer: int) -> Tensor:
        """See `Attend`."""
        return self.backend.attend(q, k, v, layer, self.plan)

    def rotate_and_attend(
        self, q: Tensor, k: Tensor, v: Tensor, rotation: Rotation, layer: int
    ) -> Tensor:
        """See `Rotates`."""
        return self.backend.rotate_and_attend(q, k, v, rotation, layer=layer, plan=self.plan)


def append_sizes(n_tokens: int, padded_group: int, padded_half: int) -> tuple[int, int]:
    """Choose tokens and warps of a program that appends, such that no register spills."""
    tokens = 4 if n_tokens > _FEW and padded_group <= 8 else 1
    numbers = tokens * padded_group * padded_half
    if _is_interpreted():
        tokens = _INTERPRETED_TOKENS
    return tokens, min(8, max(1, numbers // _NUMBERS_OF_WARP))


def _check_device(cache: KVCache) -> None:
    if cache.device.type != "cuda" and not _is_interpreted():
        raise BackendUnavailable(f"attention 'triton' needs a GPU, not {cache.device.type!r}")
    capability = _capability(cache.device)
    if capability < 80 or (cache.has_scales and capability < 89):
        what, least = ("kv_format 'fp8'", 89) if cache.has_scales else ("attention 'triton'", 80)
        raise BackendUnavailable(
            f"{what} needs a GPU of compute capability {least / 10} or more, got {capability / 10}"
        )


def _capability(device: torch.device) -> int:
    """Compute capability times 10; the interpreter can what the newest can."""
    if device.type != "cuda":
        return 90
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def _is_interpreted() -> bool:
    return bool(triton.knobs.runtime.interpret)


def _by_head(x: Tensor) -> Tensor:
    """Give [T, H, D] such that only the stride of a token is free."""
    return x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous()


def _tables(spans: Sequence[Span]) -> NDArray[np.int32]:
    """Lay the spans' block ids side by side, filled up with 0: [B, M]."""
    lengths = np.array([len(span.block_ids) for span in spans])
    tables = np.zeros((len(spans), lengths.max()), dtype=np.int32)
    tables[np.arange(lengths.max()) < lengths[:, None]] = np.fromiter(
        chain.from_iterable(span.block_ids for span in spans), dtype=np.int32
    )
    return tables


def _slots(span: Span, block_size: int) -> NDArray[np.int32]:
    """Slots of a span's own tokens: [n_tokens]."""
    positions = np.arange(span.first_position, span.first_position + span.n_tokens)
    block_ids = np.asarray(span.block_ids)[positions // block_size - span.n_reclaimed]
    slots: NDArray[np.int64] = block_ids * block_size + positions % block_size
    return slots.astype(np.int32)


def _copied(arrays: Sequence[NDArray[np.int32]], device: torch.device) -> list[Tensor]:
    """Bring arrays to the device in one copy that the host does not wait for."""
    sizes = [-(-array.size // _ALIGNED) * _ALIGNED for array in arrays]
    host = torch.empty(sum(sizes), dtype=torch.int32, pin_memory=device.type == "cuda")
    parts = torch.split(host, sizes)
    for part, array in zip(parts, arrays, strict=True):
        part[: array.size].copy_(torch.from_numpy(array.reshape(-1)))
    moved = torch.split(host.to(device, non_blocking=True), sizes)
    return [part[: array.size].view(array.shape) for part, array in zip(moved, arrays, strict=True)]
