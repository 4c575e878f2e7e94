"""What the Triton backend promises beyond the others, in Triton's interpreter.

The interpreter multiplies matrices by numpy, in which a row's bits depend on its place. A GPU's
multipliers compute each row for itself, and where bits are compared here the interpreter is made
to do so, too.
"""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.attention.conftest import HEAD_DIM, N_HEADS, Variant, poison
from tests.left_out import TRITON, leave_out

from sirocco.attention.base import Rotates, Span
from sirocco.attention.choice import has_triton
from sirocco.attention.dense import dense_attention
from sirocco.errors import BackendUnavailable
from sirocco.kvcache.pool import KVCache
from sirocco.model.rope import rotate

LENGTH = 75
"""Two whole splits of 32 keys and a part of one."""

pytestmark = pytest.mark.timeout(900)  # for machines that are busy; together they take a minute

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def triton_is_there():
    if not has_triton():
        leave_out(TRITON)


@pytest.fixture(params=["float32", "float16"])
def triton_variant(request):
    return Variant("triton", request.param)


@pytest.fixture
def rows_on_their_own(monkeypatch):
    """Let the interpreter compute each element of a product in the same way, wherever it is."""
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def create_dot(self, a, b, d, *precision):
        product = np.einsum("ik,kj->ij", a.data.astype(float), b.data.astype(float))
        return TensorHandle(product.astype(d.data.dtype) + d.data, d.dtype.scalar)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)


@pytest.mark.parametrize(("n_kv_heads", "window"), [(2, None), (2, 40), (1, 7)])
def test_bits_do_not_depend_on_how_a_prompt_is_cut(
    rows_on_their_own, make_paged, make_qkv, n_kv_heads, window
):
    """Prefill adds up its splits in registers, decode in a second kernel: to the same bits."""
    variant = Variant("triton", "float32")
    sequence = make_qkv(LENGTH, n_kv_heads)
    shape = {"n_kv_heads": n_kv_heads, "block_size": 4, "window": window}
    (whole,) = make_paged(variant, **shape).run([sequence], [[LENGTH]])

    for chunks in ([72, *[1] * 3], [33, 42]):
        (cut,) = make_paged(variant, **shape).run([sequence], [chunks])

        assert torch.equal(cut, whole), chunks


def test_bits_do_not_depend_on_batch_mates(rows_on_their_own, triton_variant, make_paged, make_qkv):
    chunkings = [[70, 1, 1, 1], [33, 1], [1], [2, 40, 1]]
    sequences = [make_qkv(sum(chunks), 2, seed) for seed, chunks in enumerate(chunkings)]
    shape = {"n_kv_heads": 2, "block_size": 16, "window": 50}

    together = make_paged(triton_variant, **shape).run(sequences, chunkings)

    for sequence, chunks, out in zip(sequences, chunkings, together, strict=True):
        (alone,) = make_paged(triton_variant, **shape).run([sequence], [chunks])
        assert torch.equal(out, alone)


def test_bits_do_not_depend_on_how_many_programs_share_the_splits(make_paged, make_qkv):
    import dataclasses

    paged = make_paged(Variant("triton", "float32"), n_kv_heads=2, block_size=4, window=None)
    q, k, v = make_qkv(LENGTH, 2)
    paged.run([(q, k, v)], [[LENGTH]])
    table = next(iter(paged.blocks.tables)).block_ids
    last = [x[-1:].to(DEVICE) for x in (q, k, v)]
    plan = paged.backend.plan([Span(LENGTH - 1, 1, table)])
    assert plan.n_split_programs == 3

    outs = [
        paged.backend.attend(*last, 1, dataclasses.replace(plan, n_split_programs=n))
        for n in (2, 3, 5)
    ]

    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


def test_bfloat16_is_close_to_the_definition(make_paged, make_qkv):
    variant = Variant("triton", "bfloat16")
    q, k, v = make_qkv(37, 2, dtype=torch.bfloat16)
    paged = make_paged(variant, n_kv_heads=2, block_size=4, window=8)

    (actual,) = paged.run([(q, k, v)], [[34, 1, 1, 1]])

    expected = dense_attention(q, k, v, window=8)
    torch.testing.assert_close(actual, expected, **variant.tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_fp8_attends_to_what_the_cache_holds(make_paged, make_qkv, dtype):
    """The answer is that of the definition over the numbers that were kept, scales and all."""
    q, k, v = make_qkv(50, 2, dtype=dtype)
    k, v = k * 5, v * 0.01
    paged = make_paged(Variant("triton", "fp8"), n_kv_heads=2, block_size=4, window=None)

    (actual,) = paged.run([(q, k, v)], [[47, 1, 1, 1]])

    kept = [held(paged, tensors, scales) for tensors, scales in (
        (paged.cache.k, paged.cache.k_scales), (paged.cache.v, paged.cache.v_scales))]  # fmt: skip
    for original, of_cache in zip((k, v), kept, strict=True):
        largest = original.float().abs().amax(-1, keepdim=True)
        assert ((of_cache - original).abs() <= original.abs() / 16 + largest / 448 / 8).all()
    expected = dense_attention(q.float(), *kept)
    atol, rtol = (1e-5, 1e-5) if dtype == torch.float32 else (1e-4, 1e-2)
    torch.testing.assert_close(actual.float(), expected, atol=atol, rtol=rtol)


def held(paged, tensors, scales):
    """Read back one sequence from layer 1: [S, K, D] float32."""
    (table,) = paged.blocks.tables
    numbers = tensors[1][table.block_ids].flatten(0, 1).float()
    return (numbers * scales[1][table.block_ids].flatten(0, 1)[..., None])[:50].cpu()


def test_rotation_in_the_kernel_is_that_of_the_network(make_paged, make_qkv):
    """From rows in which queries, keys and values lie side by side, as one product gives them."""
    q, k, v = make_qkv(21, 2)
    angles = torch.randn(21, HEAD_DIM // 2, generator=torch.Generator().manual_seed(1))
    rotation = angles.cos().to(DEVICE), angles.sin().to(DEVICE)
    variant = Variant("triton", "float32")
    shape = {"n_kv_heads": 2, "block_size": 4, "window": None}
    rotated = [rotate(x.clone(), *(y.cpu() for y in rotation)) for x in (q, k)]
    (expected,) = make_paged(variant, **shape).run([(*rotated, v)], [[21]])
    paged = make_paged(variant, **shape)
    rows = torch.cat([x.flatten(1) for x in (q, k, v)], dim=1).to(DEVICE)
    sizes = [x.shape[1] * HEAD_DIM for x in (q, k, v)]
    side_by_side = [x.unflatten(1, (-1, HEAD_DIM)) for x in rows.split(sizes, dim=1)]

    attend = paged.backend.bind(paged.backend.plan([Span(0, 21, range(6))]))
    assert isinstance(attend, Rotates)
    rows_q, rows_k, rows_v = side_by_side
    actual = attend.rotate_and_attend(rows_q, rows_k, rows_v, rotation, 1)

    torch.testing.assert_close(actual.cpu(), expected, atol=1e-5, rtol=1e-5)


def test_rows_that_nobody_has_write_nothing(make_paged, make_qkv):
    """A CUDA graph runs as many rows as it was captured with; some of them may be of no use."""
    import dataclasses

    paged = make_paged(Variant("triton", "float32"), n_kv_heads=2, block_size=4, window=None)
    plan = paged.backend.plan([Span(0, 1, [0]), Span(2, 1, [1])])
    plan.blocks[0, 2] = 0
    plan = dataclasses.replace(plan, slots=plan.slots.masked_fill(plan.slots == 0, -1))

    paged.backend.attend(*(x.to(DEVICE) for x in make_qkv(2, 2)), 1, plan)

    assert paged.cache.k[1][0].isnan().all()
    assert not paged.cache.k[1][1, 2].isnan().any()


@settings(max_examples=6, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    group=st.integers(1, 7), n_kv_heads=st.integers(1, 2), half_dim=st.integers(1, 20),
    block_size=st.integers(1, 9), window=st.none() | st.integers(1, 60),
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=3), seed=st.integers(0, 99),
)  # fmt: skip
def test_odd_shapes_equal_dense(group, n_kv_heads, half_dim, block_size, window, lengths, seed):  # noqa: PLR0917
    from sirocco.attention.triton_paged import Tiling, TritonPagedBackend

    generator = torch.Generator().manual_seed(seed)
    dim, n_blocks = 2 * half_dim, sum(-(-n // block_size) for n in lengths)
    cache = KVCache(
        n_layers=1, n_blocks=n_blocks, block_size=block_size, n_kv_heads=n_kv_heads, head_dim=dim,
        device=DEVICE,
    )  # fmt: skip
    poison(cache.k[0])
    poison(cache.v[0])
    backend = TritonPagedBackend(
        cache, group_size=group, window=window, tiling=Tiling(rows=64, keys=16, split=16)
    )
    free = torch.randperm(n_blocks, generator=generator).tolist()
    tables = [[free.pop() for _ in range(-(-n // block_size))] for n in lengths]
    heads = (group * n_kv_heads, n_kv_heads, n_kv_heads)
    sequences = [[torch.randn(n, h, dim, generator=generator) for h in heads] for n in lengths]

    outs = []
    for cut in (lambda n: (0, n - 1), lambda n: (n - 1, n)):  # all but the last token, then it
        parts = [(cut(n), table, s) for n, table, s in zip(lengths, tables, sequences, strict=True)]
        spans = [Span(a, b - a, table) for (a, b), table, _ in parts if b > a]
        rows = [torch.cat([s[i][a:b] for (a, b), _, s in parts]).to(DEVICE) for i in range(3)]
        if spans:
            out = backend.attend(rows[0], rows[1], rows[2], 0, backend.plan(spans)).cpu()
            outs.append(out)

    whole = [dense_attention(*s, window=window) for s in sequences]
    expected = [torch.cat([w[:-1] for w in whole]), torch.cat([w[-1:] for w in whole])]
    for out, wanted in zip(outs, expected[-len(outs) :], strict=True):
        torch.testing.assert_close(out, wanted, atol=2e-5, rtol=2e-5)


def test_a_cpu_has_no_triton_but_in_the_interpreter(monkeypatch):
    from sirocco.attention import triton_paged

    monkeypatch.setattr(triton_paged, "_is_interpreted", lambda: False)
    cache = KVCache(n_layers=1, n_blocks=1, block_size=1, n_kv_heads=1, head_dim=2)

    with pytest.raises(BackendUnavailable, match="needs a GPU, not 'cpu'"):
        triton_paged.TritonPagedBackend(cache, group_size=N_HEADS)
