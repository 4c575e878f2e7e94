"""What is torch's backend's own; `test_backends.py` holds what it shares with the others."""

import torch

from sirocco.attention.base import Span
from sirocco.attention.dense import dense_attention


def test_bfloat16_is_close_to_the_definition(sdpa_bfloat16, make_paged, make_qkv):
    q, k, v = make_qkv(37, 2, dtype=torch.bfloat16)
    paged = make_paged(sdpa_bfloat16, n_kv_heads=2, block_size=4, window=8)

    (actual,) = paged.run([(q, k, v)], [[20, *[1] * 17]])

    assert actual.dtype is torch.bfloat16
    expected = dense_attention(q, k, v, window=8)
    torch.testing.assert_close(actual, expected, **sdpa_bfloat16.tolerance)


def test_decode_rows_are_few_groups(sdpa_bfloat16, make_paged):
    """Sixty-four decoding sequences of similar length cost one padded call, not sixty-four."""
    paged = make_paged(sdpa_bfloat16, n_kv_heads=2, block_size=4, window=None)
    spans = [Span(32 + i % 16, 1, list(range(12))) for i in range(64)]

    assert len(paged.backend.plan(spans).groups) == 1
