"""What the native backend promises beyond the others: the same bits, come what may."""

import pytest
import torch

from sirocco import native

LENGTH = 83
"""Two whole tiles of 32 and a part of one."""


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    before = native.n_threads()
    yield
    native.set_n_threads(before)


@pytest.mark.parametrize("n_kv_heads", [8, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("window", [None, 7, 40])
@pytest.mark.parametrize("block_size", [4, 16])
def test_bits_do_not_depend_on_how_a_prompt_is_cut(  # noqa: PLR0917 - fixtures and parameters
    native_variant, make_paged, make_qkv, n_kv_heads, window, block_size
):
    sequence = make_qkv(LENGTH, n_kv_heads)
    shape = {"n_kv_heads": n_kv_heads, "block_size": block_size, "window": window}
    (whole,) = make_paged(native_variant, **shape).run([sequence], [[LENGTH]])

    for chunks in ([1] * LENGTH, [33, 50], [3, 31, 17, *[1] * 32], [64, *[1] * 19]):
        (cut,) = make_paged(native_variant, **shape).run([sequence], [chunks])

        assert torch.equal(cut, whole), chunks


@pytest.mark.parametrize("window", [None, 40])
def test_bits_do_not_depend_on_the_size_of_a_block(native_variant, make_paged, make_qkv, window):
    sequence = make_qkv(LENGTH, 2)
    outs = [
        make_paged(native_variant, n_kv_heads=2, block_size=size, window=window).run(
            [sequence], [[40, *[1] * 43]]
        )[0]
        for size in (1, 3, 8, 16, 32, 48)
    ]

    assert all(torch.equal(out, outs[0]) for out in outs[1:])


@pytest.mark.parametrize("window", [None, 40])
def test_bits_do_not_depend_on_batch_mates(native_variant, make_paged, make_qkv, window):
    chunkings = [[70, *[1] * 13], [1] * 30, [90], [2, 33]]
    sequences = [make_qkv(sum(chunks), 2, seed) for seed, chunks in enumerate(chunkings)]
    shape = {"n_kv_heads": 2, "block_size": 16, "window": window}

    together = make_paged(native_variant, **shape).run(sequences, chunkings)

    for sequence, chunks, out in zip(sequences, chunkings, together, strict=True):
        (alone,) = make_paged(native_variant, **shape).run([sequence], [chunks])
        assert torch.equal(out, alone)


@pytest.mark.parametrize("window", [None, 700])
def test_bits_do_not_depend_on_threads_and_segments(native_variant, make_paged, make_qkv, window):
    """Beyond 512 positions several threads share one token's keys, segment by segment."""
    sequence = make_qkv(1100, 2)

    outs = []
    for n_threads, chunks in ((1, [1095, *[1] * 5]), (3, [1095, *[1] * 5]), (2, [1, 600, 499])):
        native.set_n_threads(n_threads)
        paged = make_paged(native_variant, n_kv_heads=2, block_size=16, window=window)
        outs.append(paged.run([sequence], [chunks])[0])

    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


def test_a_window_as_long_as_the_sequence_is_none(native_variant, make_paged, make_qkv):
    sequence = make_qkv(LENGTH, 2)
    outs = [
        make_paged(native_variant, n_kv_heads=2, block_size=4, window=window).run(
            [sequence], [[50, 33]]
        )[0]
        for window in (None, LENGTH, 10 * LENGTH)
    ]

    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("chunks", [[LENGTH], [1] * LENGTH], ids=["prefill", "decode"])
def test_a_bad_query_touches_no_other_row(native_variant, make_paged, make_qkv, bad, chunks):
    q, k, v = make_qkv(LENGTH, 2)
    shape = {"n_kv_heads": 2, "block_size": 16, "window": None}
    (clean,) = make_paged(native_variant, **shape).run([(q, k, v)], [chunks])
    q[34, 3, 5] = bad

    (out,) = make_paged(native_variant, **shape).run([(q, k, v)], [chunks])

    assert out[34, 3].isnan().all()
    out[34, 3] = clean[34, 3]
    assert torch.equal(out, clean)


@pytest.mark.parametrize("window", [None, 5])
def test_a_bad_key_or_value_is_seen_only_by_those_that_see_it(
    native_variant, make_paged, make_qkv, window
):
    """Not by the tokens before it, though they share its tile, nor by those it is behind."""
    q, k, v = make_qkv(LENGTH, 2)
    shape = {"n_kv_heads": 2, "block_size": 16, "window": window}
    (clean,) = make_paged(native_variant, **shape).run([(q, k, v)], [[LENGTH]])
    k[36, 0], v[40, 1] = torch.nan, torch.inf

    (out,) = make_paged(native_variant, **shape).run([(q, k, v)], [[LENGTH]])

    last = LENGTH if window is None else 36 + window
    assert out[36:last, :4].isnan().all()
    assert torch.equal(out[:36, :4], clean[:36, :4])
    assert torch.equal(out[last:, :4], clean[last:, :4])
    assert torch.equal(out[:40, 4:], clean[:40, 4:])
    assert not out[40 : 40 + (window or LENGTH), 4:].isfinite().any()
