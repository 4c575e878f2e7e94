"""The attention kernels of every isa against the definition, and against wrong arguments."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sirocco import native
from sirocco.attention.dense import dense_attention
from sirocco.errors import BackendUnavailable
from sirocco.native.attention import attention_plan, kv_layer, paged_attention

TOLERANCE: dict[torch.dtype, Any] = {
    torch.float32: {"atol": 2e-6, "rtol": 2e-5},  # the order of sums, and the rounding of exp
    torch.float16: {"atol": 4e-3, "rtol": 4e-3},  # 11 bits of mantissa in keys and values
    torch.int8: {"atol": 6e-2, "rtol": 6e-2},  # steps of |largest| / 127 in keys and values
}


def isas() -> list[str]:
    return ["scalar", "avx2", "avx512_vnni", "amx_int8"]


@pytest.fixture(params=isas())
def isa(request: pytest.FixtureRequest) -> str:
    if request.param not in native.isas():
        pytest.skip(f"this processor or build has no {request.param}")
    return str(request.param)


class Cache:
    """One layer of a cache, poisoned, with its blocks in reverse."""

    def __init__(self, n_blocks, n_kv_heads, block_size, head_dim, dtype=torch.float32):
        head = (n_blocks, n_kv_heads)
        bad = -128 if dtype is torch.int8 else torch.nan
        self.k = torch.full((*head, head_dim, block_size), bad, dtype=dtype)
        self.v = torch.full((*head, block_size, head_dim), bad, dtype=dtype)
        self.scales = (
            [torch.full((*head, block_size), torch.nan) for _ in range(2)]
            if dtype is torch.int8
            else []
        )
        self.layer = kv_layer(self.k, self.v, *self.scales)
        self.n_blocks, self.block_size = n_blocks, block_size

    def plan(self, first, n_tokens, window=None, block_ids=None, n_reclaimed=0):
        ids = np.arange(self.n_blocks, dtype=np.int32)[::-1] if block_ids is None else block_ids
        return attention_plan(
            np.array([[first, n_tokens, len(ids), n_reclaimed]], dtype=np.int64),
            np.ascontiguousarray(ids, dtype=np.int32),
            n_blocks=self.n_blocks, block_size=self.block_size, window=window,
        )  # fmt: skip


def random_qkv(seq_len, n_heads, n_kv_heads, head_dim, seed=0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    heads = (n_heads, n_kv_heads, n_kv_heads)
    return [torch.randn((seq_len, h, head_dim), generator=generator) for h in heads]


def attend(qkv, chunks, *, block_size, window=None, dtype=torch.float32, isa=None) -> Tensor:
    seq_len, n_kv_heads, head_dim = qkv[1].shape
    cache = Cache(-(-seq_len // block_size), n_kv_heads, block_size, head_dim, dtype)
    outs, done = [], 0
    for n in chunks:
        q, k, v = (x[done : done + n] for x in qkv)
        plan = cache.plan(done, n, window)
        outs.append(paged_attention(cache.layer, plan, q, k, v, isa=isa))
        done += n
    return torch.cat(outs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8], ids=str)
@pytest.mark.parametrize("head_dim", [8, 24, 64, 128, 6, 258])
@pytest.mark.parametrize("n_kv_heads", [6, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("window", [None, 50])
def test_every_isa_and_format_equals_dense(isa, dtype, head_dim, n_kv_heads, window):
    qkv = random_qkv(101, 6, n_kv_heads, head_dim)

    actual = attend(qkv, [70, *[1] * 5, 26], block_size=16, window=window, dtype=dtype, isa=isa)

    expected = dense_attention(*qkv, window=window)
    torch.testing.assert_close(actual, expected, **TOLERANCE[dtype])


def test_long_sequences_are_segments_put_together(isa):
    qkv = random_qkv(1300, 2, 1, 8)

    actual = attend(qkv, [1299, 1], block_size=16, isa=isa)

    torch.testing.assert_close(actual, dense_attention(*qkv), **TOLERANCE[torch.float32])


@settings(max_examples=60, deadline=None)
@given(
    group_size=st.integers(1, 11),
    n_kv_heads=st.integers(1, 3),
    head_dim=st.integers(1, 40).map(lambda n: 2 * n),
    block_size=st.integers(1, 40),
    window=st.none() | st.integers(1, 90),
    chunks=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    dtype=st.sampled_from(list(TOLERANCE)),
    isa=st.sampled_from(isas()),
)
def test_odd_shapes_equal_dense(  # noqa: PLR0917 - drawn, not passed
    group_size, n_kv_heads, head_dim, block_size, window, chunks, dtype, isa
):
    isa = isa if isa in native.isas() else "scalar"
    qkv = random_qkv(sum(chunks), group_size * n_kv_heads, n_kv_heads, head_dim)

    actual = attend(qkv, chunks, block_size=block_size, window=window, dtype=dtype, isa=isa)

    torch.testing.assert_close(actual, dense_attention(*qkv, window=window), **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8], ids=str)
def test_what_is_stored_has_the_same_bits_with_every_isa(isa, dtype):
    q, k, v = random_qkv(9, 2, 2, 24)
    k[3, 1], v[4, 0] = 0.0, 1e-35
    k[5, 0, 7], v[6, 1, 2] = torch.inf, torch.nan
    caches = [Cache(3, 2, 4, 24, dtype) for _ in range(2)]

    for cache, name in zip(caches, ("scalar", isa), strict=True):
        paged_attention(cache.layer, cache.plan(0, 9), q, k, v, isa=name)

    for ours, scalar in zip(
        (caches[1].k, caches[1].v, *caches[1].scales),
        (caches[0].k, caches[0].v, *caches[0].scales),
        strict=True,
    ):
        torch.testing.assert_close(ours, scalar, rtol=0, atol=0, equal_nan=True)


def test_int8_rounds_to_the_nearest_of_254_steps():
    q, k, v = random_qkv(8, 2, 2, 64)
    cache = Cache(2, 2, 4, 64, torch.int8)

    paged_attention(cache.layer, cache.plan(0, 8), q, k, v)

    assert cache.v.max() == 127
    assert cache.v.min() >= -127
    stored = cache.v.float() * cache.scales[1][..., None]  # [N, K, P, D]
    stored = stored.flip(0).permute(0, 2, 1, 3).reshape(8, 2, 64)  # blocks are in reverse
    steps = v.abs().amax(-1, keepdim=True) / 127
    assert ((stored - v).abs() <= steps * 0.501).all()


def test_weights_are_accurate_exponentials(isa):
    """Two keys, whose values are unit vectors, show their weights; scores differ by up to 9."""
    for difference in torch.linspace(0, 9, 40).tolist():
        q, k, v = torch.zeros(3, 2, 1, 8).unbind()
        q[1, 0, 0], k[1, 0, 0] = 8**0.5, -difference
        v[0, 0, 0], v[1, 0, 1] = 1.0, 1.0

        out = attend((q, k, v), [2], block_size=4, isa=isa)[1, 0].double()

        ratio = out[1] / out[0]
        assert ratio == pytest.approx(np.exp(-np.float64(np.float32(difference))), rel=3e-6)


def test_scores_far_apart_leave_one_key(isa):
    q, k, v = random_qkv(70, 2, 1, 16)

    out = attend((q * 1e4, k, v), [70], block_size=16, isa=isa)

    torch.testing.assert_close(out, dense_attention(q * 1e4, k, v))


def test_the_arguments_are_left_alone(isa):
    qkv = random_qkv(5, 4, 2, 16)
    before = [x.clone() for x in qkv]

    attend(qkv, [5], block_size=4, isa=isa)

    assert all(torch.equal(x, y) for x, y in zip(qkv, before, strict=True))


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ({"first": 0, "n_tokens": 13}, "too few blocks"),
        ({"first": 4, "n_tokens": 5, "n_reclaimed": 1, "block_ids": [1, 2]}, "given back a block"),
        ({"first": 0, "n_tokens": 0}, "no tokens"),
        ({"first": -1, "n_tokens": 1}, "negative"),
        ({"first": 0, "n_tokens": 1, "block_ids": [3]}, "block 3 is not in the cache"),
        ({"first": 0, "n_tokens": 1, "block_ids": [-1]}, "block -1 is not in the cache"),
        ({"first": 0, "n_tokens": 1, "window": 0}, "window"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_span_that_does_not_fit_its_blocks_is_refused(span, message):
    cache = Cache(3, 2, 4, 8)

    with pytest.raises(ValueError, match=message):
        cache.plan(**span)


def test_blocks_behind_the_window_may_be_given_back():
    qkv = random_qkv(20, 2, 1, 8)
    cache = Cache(5, 1, 4, 8)
    q, k, v = (x[:19] for x in qkv)
    paged_attention(cache.layer, cache.plan(0, 19, 5), q, k, v)

    q, k, v = (x[19:] for x in qkv)
    plan = cache.plan(19, 1, 5, block_ids=[1, 0], n_reclaimed=3)
    out = paged_attention(cache.layer, plan, q, k, v)

    torch.testing.assert_close(out, dense_attention(*qkv, window=5)[19:])


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 4, 8), (2, 2, 8), (2, 2, 8)],  # three tokens are planned
        [(3, 3, 8), (3, 2, 8), (3, 2, 8)],  # 2 does not divide 3
        [(3, 0, 8), (3, 2, 8), (3, 2, 8)],
        [(3, 4, 16), (3, 2, 16), (3, 2, 16)],
        [(3, 4, 8), (3, 4, 8), (3, 4, 8)],
        [(3, 4, 8), (3, 2, 8), (3, 1, 8)],
    ],
)
def test_shapes_that_disagree_are_refused(shapes):
    cache = Cache(1, 2, 4, 8)

    with pytest.raises(ValueError, match="paged_attention wants"):
        paged_attention(cache.layer, cache.plan(0, 3), *(torch.zeros(s) for s in shapes))


def test_a_plan_for_another_cache_is_refused():
    q, k, v = random_qkv(3, 2, 2, 8)

    with pytest.raises(ValueError, match="another shape"):
        paged_attention(Cache(4, 2, 4, 8).layer, Cache(5, 2, 4, 8).plan(0, 3), q, k, v)


def test_tensors_that_are_no_layer_are_refused():
    k, v = torch.zeros(2, 1, 8, 4), torch.zeros(2, 1, 4, 8)

    with pytest.raises(ValueError, match="wants k"):
        kv_layer(k, k)
    with pytest.raises(ValueError, match="float32, float16 or int8"):
        kv_layer(k.bfloat16(), v.bfloat16())
    with pytest.raises(ValueError, match="wants scales"):
        kv_layer(k.to(torch.int8), v.to(torch.int8))
    with pytest.raises(ValueError, match="wants scales"):
        kv_layer(k, v, torch.zeros(2, 1, 4), torch.zeros(2, 1, 4))
    with pytest.raises(ValueError, match="shape"):
        kv_layer(k.to(torch.int8), v.to(torch.int8), torch.zeros(2, 1, 5), torch.zeros(2, 1, 4))


def test_other_dtypes_and_isas_are_refused():
    cache = Cache(1, 2, 4, 8)
    q, k, v = random_qkv(3, 2, 2, 8)

    with pytest.raises(TypeError, match=r"k is torch\.float16"):
        paged_attention(cache.layer, cache.plan(0, 3), q, k.half(), v)
    with pytest.raises(ValueError, match="q wants a gradient"):
        paged_attention(cache.layer, cache.plan(0, 3), q.requires_grad_(), k, v)
    with pytest.raises(BackendUnavailable, match="'sse9'"):
        paged_attention(cache.layer, cache.plan(0, 3), q.detach(), k, v, isa="sse9")
