"""Triton kernels: attention over blocks, and what fills them. `triton_paged.py` launches them.

A row of the kernels is one query head of one token. A *query block* is up to ROWS // GROUP
neighbouring tokens of one sequence, with all query heads of one KV head, so a tile of keys is
read once for all of them. Keys are cut at absolute positions, into splits of SPLIT and tiles of
KEYS, so what a row adds up, and in which order, depends on its own sequence alone: its bits are
the same whoever its batch mates are, however its prompt was cut, and whichever program computes
a split. Three things hold that together:

- One size of tile serves decode and prefill.
- Running maxima are rounded up to whole powers of two. Rescaling by them is exact, so it does
  not matter when it happens, nor whether a compiler fuses the product into a sum.
- Each split is added up for itself, and splits are added in order, be it in registers (a block
  of prefill) or by `merge_kernel` (a token in decode, whose splits are computed side by side).
"""

import triton
import triton.language as tl

N_BLOCK_FIELDS = 8
"""Numbers that describe a query block, of which the last two are not used: 32 bytes, a sector."""

FP8_MAX = 448.0
"""The largest number of e4m3."""

_FP8_MAX = tl.constexpr(FP8_MAX)

_VALUE_FACTOR = tl.constexpr(256.0)
"""Of the scales of fp8 values: without it, a weight times a scale may be too small for float16."""


@triton.jit
def _factor(before, after):
    """Give what a sum under the maximum `before` is multiplied with, to stand under `after`.

    It is 2^(before − after), exactly: both are whole numbers, or −∞ where nothing was added yet.
    """
    exponent = tl.maximum(tl.where(before == after, 0.0, before - after), -127.0)
    return ((exponent.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def _added(top, total, values, top_of, total_of, values_of):
    """Add one split to what came before it: maxima [R], sums of weights [R], values [R, D]."""
    after = tl.maximum(top, top_of)
    old, new = _factor(top, after), _factor(top_of, after)
    return after, total * old + total_of * new, values * old[:, None] + values_of * new[:, None]


@triton.jit
def _splits_of(block_ptr, WINDOW: tl.constexpr, SPLIT: tl.constexpr):
    """Read where a query block begins and ends, and which splits of its keys are in sight.

    Returns: position, n_tokens, first key, first split, number of splits (0 for no tokens).
    """
    position = tl.load(block_ptr + 1)
    n_tokens = tl.load(block_ptr + 2)
    first_key = 0
    if WINDOW > 0:
        first_key = tl.maximum(position - WINDOW + 1, 0)
    first_split = first_key // SPLIT
    n_splits = tl.where(n_tokens > 0, tl.cdiv(position + n_tokens, SPLIT) - first_split, 0)
    return position, n_tokens, first_key, first_split, n_splits


@triton.jit(do_not_specialize=["table_stride", "n_partials"])
def attend_kernel(
    out_ptr, q_ptr, k_cache_ptr, v_cache_ptr, k_scale_ptr, v_scale_ptr, table_ptr, blocks_ptr,
    partial_ptr, partial_top_ptr, partial_total_ptr,
    scale, table_stride, n_partials,
    Q_STRIDE: tl.constexpr, GROUP: tl.constexpr, N_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr, PADDED_DIM: tl.constexpr, BLOCK_SIZE: tl.constexpr,
    WINDOW: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, SPLIT: tl.constexpr,
    DECODES: tl.constexpr, HAS_SCALES: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Attend from one query block to all splits in sight, or to every S-th of a decoding token.

    Grid: KV heads × query blocks × S. See `TritonPagedBackend` for the tensors.

    Args:
        scale: log₂(e) / √HEAD_DIM; weights are powers of two.
        DECODES: all blocks are tokens in decode, which have no splits to add up here: the sums
            that prefill keeps meanwhile would take registers.
        UPCAST: multiply in float32, as the interpreter must, which takes bfloat16 for integers.
    """
    kv_head = tl.program_id(0)
    # The blocks that come last in a prompt see most, so they begin first.
    block = tl.num_programs(1) - 1 - tl.program_id(1)
    block_ptr = blocks_ptr + block * 8
    row0 = tl.load(block_ptr)
    table = table_ptr + tl.load(block_ptr + 3).to(tl.int64) * table_stride
    partial_row = tl.load(block_ptr + 4)
    n_reclaimed = tl.load(block_ptr + 5)
    position, n_tokens, first_key, first_split, n_splits = _splits_of(block_ptr, WINDOW, SPLIT)
    end_key = position + n_tokens
    is_shared = (partial_row >= 0) & (n_splits > 1)  # each program has some of the splits
    stride = tl.where(is_shared, tl.num_programs(2), 1)
    stop = tl.where(is_shared | (tl.program_id(2) == 0), n_splits, 0)

    row = tl.arange(0, ROWS)
    column = tl.arange(0, PADDED_DIM)
    token = row // GROUP
    head = kv_head * GROUP + row % GROUP
    is_live = token < n_tokens
    in_head = column < HEAD_DIM
    query_position = position + token
    q_at = (row0 + token).to(tl.int64) * Q_STRIDE + head * HEAD_DIM
    out_at = ((row0 + token) * (GROUP * N_KV_HEADS) + head).to(tl.int64) * HEAD_DIM
    mask = is_live[:, None] & in_head[None, :]
    q = tl.load(q_ptr + q_at[:, None] + column[None, :], mask=mask, other=0.0)
    if not HAS_SCALES:
        q = q.to(k_cache_ptr.dtype.element_ty)
    if UPCAST:
        q = q.to(tl.float32)

    if not DECODES:
        top = tl.full([ROWS], float("-inf"), tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        values = tl.zeros([ROWS, PADDED_DIM], tl.float32)
    for split in tl.range(tl.program_id(2), stop, stride):
        low = tl.maximum((first_split + split) * SPLIT, first_key // KEYS * KEYS)
        high = tl.minimum((first_split + split + 1) * SPLIT, end_key)
        top_of = tl.full([ROWS], float("-inf"), tl.float32)
        total_of = tl.zeros([ROWS], tl.float32)
        values_of = tl.zeros([ROWS, PADDED_DIM], tl.float32)
        for start in tl.range(low, high, KEYS):
            key = start + tl.arange(0, KEYS)
            is_there = (key >= first_key) & (key < end_key)
            block_id = tl.load(table + key // BLOCK_SIZE - n_reclaimed, mask=is_there, other=0)
            slot_head = (block_id.to(tl.int64) * BLOCK_SIZE + key % BLOCK_SIZE) * N_KV_HEADS
            slot_head += kv_head
            kv_at = slot_head[:, None] * HEAD_DIM + column[None, :]
            kv_mask = is_there[:, None] & in_head[None, :]
            k = tl.load(k_cache_ptr + kv_at, mask=kv_mask, other=0.0)
            scores = tl.dot(q, tl.trans(k.to(q.dtype)), input_precision="ieee") * scale
            if HAS_SCALES:
                scores *= tl.load(k_scale_ptr + slot_head, mask=is_there, other=0.0)[None, :]
            is_seen = key[None, :] <= query_position[:, None]
            if WINDOW > 0:
                is_seen &= key[None, :] > query_position[:, None] - WINDOW
            scores = tl.where(is_seen, scores, float("-inf"))
            after = tl.maximum(top_of, tl.ceil(tl.max(scores, 1)))
            weights = tl.exp2(scores - tl.where(after == float("-inf"), 0.0, after)[:, None])
            old = _factor(top_of, after)
            total_of = total_of * old + tl.sum(weights, 1)
            v = tl.load(v_cache_ptr + kv_at, mask=kv_mask, other=0.0)
            if HAS_SCALES:
                v_scale = tl.load(v_scale_ptr + slot_head, mask=is_there, other=0.0)
                weights *= (v_scale * _VALUE_FACTOR)[None, :]
            values_of = tl.dot(
                weights.to(q.dtype), v.to(q.dtype), values_of * old[:, None], input_precision="ieee"
            )
            top_of = after
        if is_shared:
            at = (partial_row * n_partials + split).to(tl.int64) * (GROUP * N_KV_HEADS) + head
            tl.store(partial_top_ptr + at, top_of, mask=is_live)
            tl.store(partial_total_ptr + at, total_of, mask=is_live)
            tl.store(partial_ptr + at[:, None] * HEAD_DIM + column[None, :], values_of, mask=mask)
        elif DECODES:  # a single split
            out = _mean(values_of, total_of, HAS_SCALES).to(out_ptr.dtype.element_ty)
            tl.store(out_ptr + out_at[:, None] + column[None, :], out, mask=mask)
        else:
            top, total, values = _added(top, total, values, top_of, total_of, values_of)
    if not DECODES:
        if (not is_shared) & (stop > 0):
            out = _mean(values, total, HAS_SCALES).to(out_ptr.dtype.element_ty)
            tl.store(out_ptr + out_at[:, None] + column[None, :], out, mask=mask)


@triton.jit
def _mean(values, total, HAS_SCALES: tl.constexpr):
    """Divide [R, D] by the sums of weights [R]; a row that nobody wants has none."""
    if HAS_SCALES:
        total *= _VALUE_FACTOR
    return values / tl.where(total == 0.0, 1.0, total)[:, None]


@triton.jit(do_not_specialize=["n_partials"])
def merge_kernel(
    out_ptr, blocks_ptr, partial_ptr, partial_top_ptr, partial_total_ptr, n_partials,
    GROUP: tl.constexpr, PADDED_GROUP: tl.constexpr, N_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr, PADDED_DIM: tl.constexpr, WINDOW: tl.constexpr, SPLIT: tl.constexpr,
    AT_ONCE: tl.constexpr, HAS_SCALES: tl.constexpr,
):  # fmt: skip
    """Add up the splits of decoding tokens, in order. Grid: KV heads × query blocks.

    Args:
        AT_ONCE: splits whose loads do not wait for each other.
    """
    block_ptr = blocks_ptr + tl.program_id(1) * 8
    partial_row = tl.load(block_ptr + 4)
    _, _, _, _, n_splits = _splits_of(block_ptr, WINDOW, SPLIT)
    row = tl.arange(0, PADDED_GROUP)
    column = tl.arange(0, PADDED_DIM)
    is_live = row < GROUP
    mask = is_live[:, None] & (column < HEAD_DIM)[None, :]
    head = tl.program_id(0) * GROUP + row
    if (partial_row >= 0) & (n_splits > 1):
        top = tl.full([PADDED_GROUP], float("-inf"), tl.float32)
        total = tl.zeros([PADDED_GROUP], tl.float32)
        values = tl.zeros([PADDED_GROUP, PADDED_DIM], tl.float32)
        for first in tl.range(0, n_splits, AT_ONCE):
            for offset in tl.static_range(AT_ONCE):
                split = first + offset
                at = (partial_row * n_partials + split).to(tl.int64) * (GROUP * N_KV_HEADS) + head
                is_there = is_live & (split < n_splits)
                top_of = tl.load(partial_top_ptr + at, mask=is_there, other=float("-inf"))
                total_of = tl.load(partial_total_ptr + at, mask=is_there, other=0.0)
                values_of = tl.load(
                    partial_ptr + at[:, None] * HEAD_DIM + column[None, :],
                    mask=mask & (split < n_splits), other=0.0,
                )  # fmt: skip
                top, total, values = _added(top, total, values, top_of, total_of, values_of)
        out = _mean(values, total, HAS_SCALES)
        out_at = (tl.load(block_ptr) * (GROUP * N_KV_HEADS) + head).to(tl.int64) * HEAD_DIM
        tl.store(
            out_ptr + out_at[:, None] + column[None, :], out.to(out_ptr.dtype.element_ty), mask=mask
        )


@triton.jit
def _rotated(x_ptr, at, mask, cos, sin, HALF: tl.constexpr, ROTATES: tl.constexpr):
    """Load heads in two halves [R, D/2] of float32, and turn the pairs that lie across them."""
    dtype = x_ptr.dtype.element_ty
    first = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + at + HALF, mask=mask, other=0.0).to(tl.float32)
    if ROTATES:
        turned = first * cos - second * sin
        second = (second * cos + first * sin).to(dtype).to(tl.float32)
        first = turned.to(dtype).to(tl.float32)
    return first, second


@triton.jit
def _rounded(x):
    """Round to the nearest number of e4m3, whose conversion in the interpreter cannot.

    It forgets to carry: 127 would become 64, where 128 is nearest.
    """
    bits = x.to(tl.int32, bitcast=True)
    bits = (bits + 0x7FFFF + ((bits >> 20) & 1)) & -0x100000  # three bits of mantissa stay
    normal = bits.to(tl.float32, bitcast=True)
    small = (x + 24576.0) - 24576.0  # steps of 2⁻⁹ below 2⁻⁶
    return tl.where(tl.abs(x) < 0.015625, small, normal)


@triton.jit
def _store_slots(
    cache_ptr, scale_ptr, slot_head, column, mask, first, second,
    HEAD_DIM: tl.constexpr, HALF: tl.constexpr, HAS_SCALES: tl.constexpr, ROUNDS: tl.constexpr,
):  # fmt: skip
    """Write heads [R, D/2] twice at their slots; for fp8 scaled so that the largest is 448."""
    if HAS_SCALES:
        largest = tl.maximum(tl.max(tl.abs(first), 1), tl.max(tl.abs(second), 1))
        head_scale = tl.where(largest > 0.0, largest / _FP8_MAX, 1.0)
        first = tl.minimum(tl.maximum(first / head_scale[:, None], -_FP8_MAX), _FP8_MAX)
        second = tl.minimum(tl.maximum(second / head_scale[:, None], -_FP8_MAX), _FP8_MAX)
        if ROUNDS:
            first = _rounded(first)
            second = _rounded(second)
        tl.store(scale_ptr + slot_head, head_scale, mask=slot_head >= 0)
    dtype = cache_ptr.dtype.element_ty
    at = slot_head[:, None] * HEAD_DIM + column[None, :]
    tl.store(cache_ptr + at, first.to(dtype), mask=mask)
    tl.store(cache_ptr + at + HALF, second.to(dtype), mask=mask)


@triton.jit(do_not_specialize=["n_tokens"])
def append_kernel(
    q_out_ptr, q_ptr, k_ptr, v_ptr, k_cache_ptr, v_cache_ptr, k_scale_ptr, v_scale_ptr,
    slots_ptr, cos_ptr, sin_ptr, n_tokens,
    Q_STRIDE: tl.constexpr, K_STRIDE: tl.constexpr, V_STRIDE: tl.constexpr,
    GROUP: tl.constexpr, PADDED_GROUP: tl.constexpr, N_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr, PADDED_HALF: tl.constexpr, TOKENS: tl.constexpr,
    ROTATES: tl.constexpr, HAS_SCALES: tl.constexpr, ROUNDS: tl.constexpr,
):  # fmt: skip
    """Write TOKENS keys and values of one KV head; with ROTATES turn its queries and keys first.

    Grid: tokens / TOKENS × KV heads. A slot below 0 is nobody's, and nothing is written.

    Args:
        ROUNDS: round to fp8 before the conversion, as the interpreter needs.
    """
    first_token = tl.program_id(0).to(tl.int64) * TOKENS
    kv_head = tl.program_id(1)
    HALF: tl.constexpr = HEAD_DIM // 2
    column = tl.arange(0, PADDED_HALF)
    in_half = (column < HALF)[None, :]
    token = first_token + tl.arange(0, TOKENS)
    slot = tl.load(slots_ptr + token, mask=token < n_tokens, other=-1).to(tl.int64)
    is_meant = (slot >= 0)[:, None] & in_half
    cos = tl.zeros([TOKENS, PADDED_HALF], tl.float32)
    sin = cos
    if ROTATES:
        row = tl.arange(0, TOKENS * PADDED_GROUP)
        q_token = first_token + row // PADDED_GROUP
        head = kv_head * GROUP + row % PADDED_GROUP
        mask = ((row % PADDED_GROUP < GROUP) & (q_token < n_tokens))[:, None] & in_half
        angle_at = q_token[:, None] * HALF + column[None, :]
        cos = tl.load(cos_ptr + angle_at, mask=mask, other=0.0)
        sin = tl.load(sin_ptr + angle_at, mask=mask, other=0.0)
        q_at = (q_token * Q_STRIDE + head * HEAD_DIM)[:, None] + column[None, :]
        first, second = _rotated(q_ptr, q_at, mask, cos, sin, HALF, True)
        out_at = (q_token * (GROUP * N_KV_HEADS) + head)[:, None] * HEAD_DIM + column[None, :]
        dtype = q_out_ptr.dtype.element_ty
        tl.store(q_out_ptr + out_at, first.to(dtype), mask=mask)
        tl.store(q_out_ptr + out_at + HALF, second.to(dtype), mask=mask)
        angle_at = token[:, None] * HALF + column[None, :]
        cos = tl.load(cos_ptr + angle_at, mask=is_meant, other=0.0)
        sin = tl.load(sin_ptr + angle_at, mask=is_meant, other=0.0)
    slot_head = slot * N_KV_HEADS + kv_head  # below 0 where the slot is
    at = token[:, None] * K_STRIDE + kv_head * HEAD_DIM + column[None, :]
    first, second = _rotated(k_ptr, at, is_meant, cos, sin, HALF, ROTATES)
    _store_slots(
        k_cache_ptr, k_scale_ptr, slot_head, column, is_meant, first, second,
        HEAD_DIM, HALF, HAS_SCALES, ROUNDS,
    )  # fmt: skip
    at = token[:, None] * V_STRIDE + kv_head * HEAD_DIM + column[None, :]
    first, second = _rotated(v_ptr, at, is_meant, cos, sin, HALF, False)
    _store_slots(
        v_cache_ptr, v_scale_ptr, slot_head, column, is_meant, first, second,
        HEAD_DIM, HALF, HAS_SCALES, ROUNDS,
    )  # fmt: skip
