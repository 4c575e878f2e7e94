"""Attention over blocks through torch's scaled_dot_product_attention: any device, no kernel.

Sequences that bring the same number of tokens are computed together, padded to the longest:
in decode all of them, in prefill one chunk at a time.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from sirocco.attention.base import Attend, Span
from sirocco.kvcache.pool import KVCache


@dataclass(frozen=True, slots=True)
class _Group:
    """B sequences of S tokens each, that read up to L slots each.

    rows: [B·S] int64, their rows in the step.  slots: [B·L] int64, padded with a slot of the
    same sequence.  mask: [B, 1, S, L], 0 where a token may look and −∞ elsewhere.
    """

    rows: Tensor
    slots: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class SdpaPlan:
    """write_slots: [T] int64, where each row's key and value go."""

    write_slots: Tensor
    groups: tuple[_Group, ...]


class SdpaBackend:
    """Gathers the blocks in the window, sequence by sequence, and calls torch.

    Source: Kwon 2023 §4.1 (attention over blocks); Ainslie 2023 §2.2 (groups).
    """

    def __init__(self, cache: KVCache, *, window: int | None = None) -> None:
        self.cache = cache
        self._window = window

    def plan(self, spans: Sequence[Span]) -> SdpaPlan:
        """See `AttentionBackend.plan`."""
        first_rows = [0]
        for span in spans:
            first_rows.append(first_rows[-1] + span.n_tokens)
        by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, span in enumerate(spans):
            by_shape[self._shape(span, index)].append(index)
        groups, write_slots = [], torch.empty(first_rows[-1], dtype=torch.int64)
        for indices in by_shape.values():
            members = [spans[index] for index in indices]
            rows = _ranges([first_rows[index] for index in indices], members[0].n_tokens)
            write_slots[rows.flatten()] = self._write_slots(members).flatten()
            groups.append(self._group(members, rows))
        return SdpaPlan(write_slots.to(self.cache.device), tuple(groups))

    def bind(self, plan: SdpaPlan) -> Attend:
        """See `AttentionBackend.bind`."""
        return partial(self.attend, plan=plan)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layer: int, plan: SdpaPlan) -> Tensor:
        """See `AttentionBackend.attend`."""
        self.cache.write(layer, plan.write_slots, k, v)
        keys, values = self.cache.slots(layer)
        out = torch.empty_like(q)
        for group in plan.groups:
            batch, _, n_tokens, n_keys = group.mask.shape
            attended = _grouped_attention(
                q[group.rows].view(batch, n_tokens, *q.shape[1:]),
                keys[group.slots].view(batch, n_keys, *k.shape[1:]),
                values[group.slots].view(batch, n_keys, *v.shape[1:]),
                group.mask,
            )
            out[group.rows] = attended.flatten(0, 1).to(q.dtype)
        return out

    def _shape(self, span: Span, index: int) -> tuple[int, int]:
        """Spans of equal shape are computed together.

        Decode rows share a group while their lengths are within a factor of two of each other,
        which bounds the padding; a chunk of prefill has work enough to be a group of its own.
        """
        if span.n_tokens > 1:
            return (span.n_tokens, -1 - index)
        n_keys = span.first_position + 1 - self._first_key(span)
        return (1, n_keys.bit_length())

    def _first_key(self, span: Span) -> int:
        """Position of the oldest key that the span's first token sees."""
        if self._window is None:
            return 0
        return max(0, span.first_position - self._window + 1)

    def _write_slots(self, spans: Sequence[Span]) -> Tensor:
        """Slots of the spans' own tokens: [B, S]."""
        positions = _ranges([span.first_position for span in spans], spans[0].n_tokens)
        return self._slots(spans, positions)

    def _group(self, spans: Sequence[Span], rows: Tensor) -> _Group:
        device, dtype = self.cache.device, self.cache.dtype
        first_keys = [self._first_key(span) for span in spans]
        ends = torch.tensor([span.first_position + span.n_tokens for span in spans])
        n_keys = int((ends - torch.tensor(first_keys)).max())
        key = _ranges(first_keys, n_keys)  # [B, L] positions; beyond the end they are padding
        query = _ranges([span.first_position for span in spans], spans[0].n_tokens)  # [B, S]
        hidden = key[:, None, :] > query[:, :, None]  # [B, S, L]; padding is in the future, too
        if self._window is not None:
            hidden |= key[:, None, :] <= query[:, :, None] - self._window
        mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf)
        # Padding reads the last slot of its own sequence: it is written, so it is finite,
        # and the mask can hide it. A slot nobody wrote could hold NaN, which no mask hides.
        slots = self._slots(spans, torch.minimum(key, ends[:, None] - 1))
        return _Group(
            rows.flatten().to(device), slots.flatten().to(device), mask[:, None].to(device)
        )

    def _slots(self, spans: Sequence[Span], positions: Tensor) -> Tensor:
        """Slots of each sequence's positions: [B, n] → [B, n] int64.

        With P = 4, block_ids [7, 3] and n_reclaimed 2, position 13 has index 13 // 4 − 2 = 1
        in the list, so its slot is 3 · 4 + 13 % 4 = 13.
        """
        block_size = self.cache.block_size
        longest = max(len(span.block_ids) for span in spans)
        table = torch.tensor(
            [[*span.block_ids, *[0] * (longest - len(span.block_ids))] for span in spans]
        )
        reclaimed = torch.tensor([[span.n_reclaimed] for span in spans])
        block_ids = table.gather(1, positions // block_size - reclaimed)
        return block_ids * block_size + positions % block_size


def _ranges(firsts: Sequence[int], length: int) -> Tensor:
    """Rows of consecutive integers: [B, length] int64, row b begins at firsts[b]."""
    return torch.tensor(firsts)[:, None] + torch.arange(length)


def _grouped_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attend so that each KV head is read once for all query heads of its group.

    The heads of a group become more queries of one head: on CPU this is up to twice as fast
    as enable_gqa in decode, and as fast in prefill.

    Args:
        q: [B, S, H, D].  k, v: [B, L, K, D].  mask: [B, 1, S, L], added to the scores.

    Returns: [B, S, H, D].
    """
    batch, n_tokens, n_heads, head_dim = q.shape
    n_kv_heads = k.shape[2]
    group_size = n_heads // n_kv_heads
    queries = q.view(batch, n_tokens, n_kv_heads, group_size, head_dim)
    queries = queries.permute(0, 2, 3, 1, 4).reshape(batch, n_kv_heads, -1, head_dim)
    out = F.scaled_dot_product_attention(
        queries.to(k.dtype), k.transpose(1, 2), v.transpose(1, 2),
        attn_mask=mask.repeat(1, 1, group_size, 1),
    )  # [B, K, G·S, D]  # fmt: skip
    out = out.view(batch, n_kv_heads, group_size, n_tokens, head_dim)
    return out.permute(0, 3, 1, 2, 4).reshape(batch, n_tokens, n_heads, head_dim)
