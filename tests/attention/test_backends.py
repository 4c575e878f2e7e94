"""Attention over blocks against the definition: every backend passes the same tests."""

import torch
from tests.attention.conftest import every_variant_with

from sirocco.attention.dense import dense_attention


@every_variant_with(
    n_kv_heads=[8, 2, 1],
    window=[None, 1, 5, 64],
    block_size=[1, 4, 16],
    chunks=[[37], [1] * 37, [1, 20, 16], [30, *[1] * 7]],
)
def test_attention_over_blocks_equals_dense(  # noqa: PLR0917 - fixtures and parameters
    variant, make_paged, make_qkv, n_kv_heads, window, block_size, chunks
):
    """Wherever the blocks lie and however the prompt is cut, the answer is the definition's."""
    q, k, v = make_qkv(37, n_kv_heads)
    expected = dense_attention(q, k, v, window=window)

    paged = make_paged(variant, n_kv_heads=n_kv_heads, block_size=block_size, window=window)
    (actual,) = paged.run([(q, k, v)], [chunks])

    torch.testing.assert_close(actual, expected, **variant.tolerance)


@every_variant_with(n_kv_heads=[8, 2, 1], window=[None, 1, 5, 64])
def test_ragged_sequences_share_a_step(variant, make_paged, make_qkv, n_kv_heads, window):
    """Decode rows of very different lengths and chunks of prefill, mixed in the same steps."""
    lengths = [1, 3, 9, 40, 41, 90]
    chunkings = [[1], [2, 1], [1] * 9, [37, 1, 1, 1], [5, 30, 1, 1, 1, 3], [80, *[1] * 10]]
    sequences = [make_qkv(n, n_kv_heads, seed) for seed, n in enumerate(lengths)]

    paged = make_paged(variant, n_kv_heads=n_kv_heads, block_size=4, window=window)
    actual = paged.run(sequences, chunkings)

    for (q, k, v), out in zip(sequences, actual, strict=True):
        expected = dense_attention(q, k, v, window=window)
        torch.testing.assert_close(out, expected, **variant.tolerance)


def test_an_answer_has_the_dtype_of_its_query(variant, make_paged, make_qkv):
    q, k, v = make_qkv(9, 2, dtype=torch.bfloat16)

    paged = make_paged(variant, n_kv_heads=2, block_size=4, window=None)
    (out,) = paged.run([(q, k, v)], [[9]])

    assert out.dtype is torch.bfloat16


def test_other_layers_and_other_blocks_stay_untouched(variant, make_paged, make_qkv):
    paged = make_paged(variant, n_kv_heads=2, block_size=4, window=None, n_blocks=8)

    paged.run([make_qkv(6, 2)], [[6]], layer=1)

    for tensor in paged.tensors[::2]:  # layer 0
        assert paged.is_poison(tensor).all()
    for tensor in paged.tensors[1::2]:  # layer 1
        numbers_per_slot = tensor[0].numel() // 4
        assert (~paged.is_poison(tensor)).sum() == 6 * numbers_per_slot
