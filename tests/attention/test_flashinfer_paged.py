"""FlashInfer's backend: the tables that it is given on a CPU, and its kernels where a GPU is.

On a CPU a double stands for its wrappers. It has their signatures and computes, by the definition,
from nothing but the arguments that they are given.
"""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sirocco.attention import flashinfer_paged
from sirocco.attention.base import Span
from sirocco.attention.choice import choose_attention, choose_kv_format
from sirocco.attention.dense import dense_attention
from sirocco.attention.flashinfer_paged import FlashInferBackend, PagedTables, has_flashinfer
from sirocco.errors import BackendUnavailable
from sirocco.kvcache.pool import KVCache


class Wrapper:
    """What both wrappers do, as FlashInfer's documentation of page tables says."""

    def __init__(self, float_workspace_buffer, kv_layout="NHD"):
        assert float_workspace_buffer.dtype == torch.uint8
        assert kv_layout == "NHD"

    def planned(self, *tables, page_size, window_left, types):
        qo_indptr, indptr, indices, last_page_len = tables
        assert {t.dtype for t in (qo_indptr, indptr, indices, last_page_len)} == {torch.int32}
        self._arguments = (qo_indptr.tolist(), indptr.tolist(), indices.tolist(),
                           last_page_len.tolist(), page_size)  # fmt: skip
        self._window = None if window_left < 0 else window_left + 1
        self._types = types

    def run(self, q, paged_kv_cache):
        k_cache, v_cache = paged_kv_cache
        assert (q.dtype, k_cache.dtype) == self._types
        qo_indptr, indptr, indices, last_page_len, page_size = self._arguments
        outs = []
        for i, last in enumerate(last_page_len):
            pages = indices[indptr[i] : indptr[i + 1]]
            assert 1 <= last <= page_size
            n = (len(pages) - 1) * page_size + last
            k, v = (cache[pages].flatten(0, 1)[:n].float() for cache in (k_cache, v_cache))
            rows = q[qo_indptr[i] : qo_indptr[i + 1]].float()
            # Queries are the last of the positions; those before them are of no interest.
            queries = torch.zeros(n, *rows.shape[1:])
            queries[n - len(rows) :] = rows
            outs.append(dense_attention(queries, k, v, window=self._window)[n - len(rows) :])
        return torch.cat(outs).to(q.dtype)


class BatchPrefillWithPagedKVCacheWrapper(Wrapper):
    n_planned = 0

    def plan(  # noqa: PLR0917 - its signature
        self, qo_indptr, paged_kv_indptr, paged_kv_indices, paged_kv_last_page_len, num_qo_heads,
        num_kv_heads, head_dim_qk, page_size, *, causal=False, window_left=-1,
        q_data_type="float16", kv_data_type=None,
    ):  # fmt: skip
        assert causal
        type(self).n_planned += 1
        self.planned(qo_indptr, paged_kv_indptr, paged_kv_indices, paged_kv_last_page_len,
                     page_size=page_size, window_left=window_left,
                     types=(q_data_type, kv_data_type))  # fmt: skip


class BatchDecodeWithPagedKVCacheWrapper(Wrapper):
    n_planned = 0

    def __init__(self, float_workspace_buffer, kv_layout, *, use_tensor_cores, backend):
        super().__init__(float_workspace_buffer, kv_layout)
        assert backend == "fa2"

    def plan(  # noqa: PLR0917 - its signature
        self, indptr, indices, last_page_len, num_qo_heads, num_kv_heads, head_dim, page_size, *,
        window_left=-1, q_data_type="float16", kv_data_type=None,
    ):  # fmt: skip
        type(self).n_planned += 1
        rows = torch.arange(len(last_page_len) + 1, dtype=torch.int32)
        self.planned(rows, indptr, indices, last_page_len, page_size=page_size,
                     window_left=window_left, types=(q_data_type, kv_data_type))  # fmt: skip


@pytest.fixture
def double(monkeypatch):
    module = SimpleNamespace(
        BatchPrefillWithPagedKVCacheWrapper=BatchPrefillWithPagedKVCacheWrapper,
        BatchDecodeWithPagedKVCacheWrapper=BatchDecodeWithPagedKVCacheWrapper,
    )
    monkeypatch.setitem(sys.modules, "flashinfer", module)
    monkeypatch.setattr(flashinfer_paged, "has_flashinfer", lambda: True)
    monkeypatch.setattr(flashinfer_paged, "HEAD_DIMS", (16,))
    monkeypatch.setattr(flashinfer_paged, "_WORKSPACE_BYTES", 16)
    return module


class Variant:
    """As those of `conftest.py`."""

    def __init__(self, dtype=torch.float16, device="cpu"):
        self._dtype, self._device = dtype, device

    def make(self, *, window, **shape):
        cache = KVCache(**shape, dtype=self._dtype, device=self._device)
        group_size = 8 // shape["n_kv_heads"]
        backend = FlashInferBackend(cache, group_size=group_size, window=window)
        return cache, [*cache.k, *cache.v], backend


@pytest.mark.parametrize("n_kv_heads", [8, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("window", [None, 1, 5, 64])
@pytest.mark.parametrize("block_size", [1, 4, 16])
def test_attention_over_blocks_equals_dense(
    double, make_paged, make_qkv, *, n_kv_heads, window, block_size
):
    """Chunks and tokens in decode, mixed; blocks behind the window are given back and are NaN."""
    lengths = [37, 9, 22]
    chunkings = [[1, 20, 16], [6, 1, 1, 1], [19, 1, 1, 1]]
    sequences = [make_qkv(n, n_kv_heads) for n in lengths]
    paged = make_paged(Variant(), n_kv_heads=n_kv_heads, block_size=block_size, window=window)
    before = [w.n_planned for w in (BatchPrefillWithPagedKVCacheWrapper,
                                    BatchDecodeWithPagedKVCacheWrapper)]  # fmt: skip

    actual = paged.run(sequences, chunkings)

    for out, qkv in zip(actual, sequences, strict=True):
        expected = dense_attention(*qkv, window=window)
        torch.testing.assert_close(out, expected, atol=4e-3, rtol=4e-3)
    assert BatchPrefillWithPagedKVCacheWrapper.n_planned == before[0] + 3
    assert BatchDecodeWithPagedKVCacheWrapper.n_planned == before[1] + 1


@given(
    spans=st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 20), st.integers(0, 9)), min_size=1, max_size=5
    ),
    block_size=st.integers(1, 8),
    n_more=st.integers(0, 2),
)
def test_tables_name_each_position_once(spans, block_size, n_more):
    """Whatever was given back in front, and however many blocks are held beyond the end."""
    made, ids = [], iter(range(10_000))
    for first, n_tokens, n_reclaimed in spans:
        reclaimed = min(n_reclaimed, first // block_size)
        n_blocks = -(-(first + n_tokens) // block_size) - reclaimed + n_more
        made.append(Span(first, n_tokens, [next(ids) for _ in range(n_blocks)], reclaimed))

    tables = PagedTables.of(made, block_size)

    starts = tables.kv_indptr.tolist()
    assert tables.qo_indptr.diff().tolist() == [span.n_tokens for span in made]
    for i, span in enumerate(made):
        pages = tables.kv_indices[starts[i] : starts[i + 1]].tolist()
        n_held = (len(pages) - 1) * block_size + tables.last_page_len[i]
        assert n_held == span.first_position + span.n_tokens - span.n_reclaimed * block_size
        assert pages == list(span.block_ids)[: len(pages)]
    assert starts[-1] == len(tables.kv_indices)


def test_it_is_refused_by_name_where_it_cannot_run(double, monkeypatch):
    shape = {"n_layers": 1, "n_blocks": 1, "block_size": 4, "n_kv_heads": 1}
    with pytest.raises(BackendUnavailable, match="heads of 16, got head_dim 24"):
        FlashInferBackend(KVCache(**shape, head_dim=24, dtype=torch.bfloat16), group_size=1)  # type: ignore[arg-type]
    with pytest.raises(BackendUnavailable, match="float16 or bfloat16, got float32"):
        FlashInferBackend(KVCache(**shape, head_dim=16), group_size=1)  # type: ignore[arg-type]
    with pytest.raises(BackendUnavailable, match=r"kv_format must be .* got 'fp8'"):
        choose_kv_format("fp8", dtype=torch.bfloat16, rounds_weights=False, attention="flashinfer")
    with pytest.raises(BackendUnavailable, match="needs a GPU and the package"):
        choose_attention("flashinfer", device=torch.device("cpu"))
    monkeypatch.setattr(flashinfer_paged, "has_flashinfer", lambda: False)
    with pytest.raises(BackendUnavailable, match="pip install 'sirocco\\[flashinfer\\]'"):
        FlashInferBackend(KVCache(**shape, head_dim=16, dtype=torch.bfloat16), group_size=1)  # type: ignore[arg-type]


@pytest.mark.skipif(
    not torch.cuda.is_available() or not has_flashinfer(),
    reason="FlashInfer's kernels run on an NVIDIA GPU alone",
)
@pytest.mark.parametrize("window", [None, 64])
@pytest.mark.parametrize("n_kv_heads", [8, 2, 1], ids=["mha", "gqa", "mqa"])
def test_our_kernels_and_its_agree_on_a_card(window, n_kv_heads):
    from sirocco.attention.triton_paged import TritonPagedBackend

    generator = torch.Generator("cuda").manual_seed(1)
    spans = [Span(0, 200, range(13)), Span(150, 1, range(20, 30)), Span(90, 5, range(40, 46))]
    heads = (8, n_kv_heads, n_kv_heads)
    q, k, v = (torch.randn(206, n, 128, generator=generator, device="cuda").half() for n in heads)
    outs: list[Any] = []
    for make in (FlashInferBackend, TritonPagedBackend):
        cache = KVCache(n_layers=1, n_blocks=50, block_size=16, n_kv_heads=n_kv_heads,
                        head_dim=128, dtype=torch.float16, device="cuda")  # fmt: skip
        fill = torch.Generator("cuda").manual_seed(2)
        for tensor in (*cache.k, *cache.v):
            tensor.normal_(generator=fill)
        backend: Any = make(cache, group_size=8 // n_kv_heads, window=window)
        outs.append(backend.attend(q, k, v, 0, backend.plan(spans)))

    torch.testing.assert_close(outs[0], outs[1], atol=4e-3, rtol=4e-3)
