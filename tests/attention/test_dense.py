"""The definition itself, against worked examples and torch's own attention."""

import math

import pytest
import torch
import torch.nn.functional as F

from sirocco.attention.dense import causal_mask, dense_attention, scaled_dot_product


def random_qkv(seq_len, n_heads, n_kv_heads, head_dim=8):
    generator = torch.Generator().manual_seed(seq_len)
    shapes = [(seq_len, h, head_dim) for h in (n_heads, n_kv_heads, n_kv_heads)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_one_head_by_hand():
    """Scores 0 and √2·ln 3 weigh the two values 1 : 3."""
    q = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    k = torch.tensor([[0.0, 0.0], [math.sqrt(2) * math.log(3), 0.0]])
    v = torch.tensor([[4.0, 0.0], [0.0, 8.0]])

    out = scaled_dot_product(q, k, v, causal_mask(2, None))

    torch.testing.assert_close(out, torch.tensor([[4.0, 0.0], [1.0, 6.0]]))


def test_window_counts_the_query_itself():
    visible = causal_mask(5, 3)

    assert visible.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]


@pytest.mark.parametrize("n_kv_heads", [8, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("window", [None, 1, 5, 64])
def test_definition_agrees_with_torch(n_kv_heads, window):
    q, k, v = random_qkv(23, 8, n_kv_heads)

    expected = F.scaled_dot_product_attention(
        q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1),
        attn_mask=causal_mask(23, window), enable_gqa=True,
    )  # fmt: skip

    actual = dense_attention(q, k, v, window=window)
    torch.testing.assert_close(actual, expected.transpose(0, 1), atol=1e-5, rtol=1e-5)


def test_query_head_reads_the_kv_head_of_its_group():
    """With group_size 2, heads 0 and 1 read KV head 0, heads 2 and 3 read KV head 1."""
    q, k, v = random_qkv(1, 4, 2)

    out = dense_attention(q, k, v)

    torch.testing.assert_close(out[0, [0, 1]], v[0, [0, 0]])
    torch.testing.assert_close(out[0, [2, 3]], v[0, [1, 1]])


def test_tokens_behind_the_window_have_no_effect():
    q, k, v = random_qkv(12, 4, 2)
    expected = dense_attention(q, k, v, window=4)

    k[:8], v[:8] = 1e3, -1e3

    torch.testing.assert_close(dense_attention(q, k, v, window=4)[11:], expected[11:])


@pytest.mark.parametrize(
    ("shapes", "window"),
    [
        ([(3, 4, 8), (3, 3, 8), (3, 3, 8)], None),
        ([(3, 4, 8), (2, 2, 8), (2, 2, 8)], None),
        ([(3, 4, 8), (3, 2, 4), (3, 2, 4)], None),
        ([(3, 4, 8), (3, 2, 8), (3, 4, 8)], None),
        ([(3, 4, 8), (3, 2, 8), (3, 2, 8)], 0),
    ],
)
def test_shapes_that_disagree_are_refused(shapes, window):
    q, k, v = (torch.zeros(shape) for shape in shapes)

    with pytest.raises(ValueError, match="must"):
        dense_attention(q, k, v, window=window)
