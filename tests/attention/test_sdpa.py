"""Attention over blocks, against the definition."""

import random
from typing import Any

import pytest
import torch

from sirocco.attention.base import Span
from sirocco.attention.dense import dense_attention
from sirocco.attention.sdpa import SdpaBackend
from sirocco.kvcache.block_manager import BlockManager
from sirocco.kvcache.pool import KVCache

N_HEADS, HEAD_DIM = 8, 16
TOLERANCE: dict[torch.dtype, Any] = {
    torch.float32: {"atol": 1e-5, "rtol": 1e-5},  # the order of sums differs
    torch.bfloat16: {"atol": 3e-2, "rtol": 3e-2},  # 8 bits of mantissa
}


def make_qkv(seq_len, n_kv_heads, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1000 * seed + seq_len)
    heads = (N_HEADS, n_kv_heads, n_kv_heads)
    return [torch.randn((seq_len, h, HEAD_DIM), generator=generator).to(dtype) for h in heads]


class Paged:
    """Several sequences over one poisoned cache, whose blocks lie scattered."""

    def __init__(self, *, n_kv_heads, block_size, window, n_blocks=256, dtype=torch.float32):
        self.cache = KVCache(
            n_layers=2, n_blocks=n_blocks, block_size=block_size, n_kv_heads=n_kv_heads,
            head_dim=HEAD_DIM, dtype=dtype,
        )  # fmt: skip
        for tensor in (*self.cache.k, *self.cache.v):
            tensor.fill_(torch.nan)
        self.blocks = BlockManager(n_blocks, block_size)
        random.Random(block_size).shuffle(self.blocks._free)  # noqa: S311 - not a secret
        self.window = window
        self.backend = SdpaBackend(self.cache, window=window)

    def poison_what_is_behind(self, table, position):
        """Give back blocks behind the window, filled with NaN, as a churning pool would."""
        if self.window is None:
            return
        before = list(table.block_ids)
        self.blocks.reclaim(table, position - self.window + 1)
        for block_id in set(before) - set(table.block_ids):
            for tensor in (*self.cache.k, *self.cache.v):
                tensor[block_id].fill_(torch.nan)

    def run(self, sequences, chunkings, layer=1):
        """Attend to every sequence in its chunks; step i holds the i-th chunk of each."""
        tables = [self.blocks.open() for _ in sequences]
        done = [0] * len(sequences)
        outs: list[list[torch.Tensor]] = [[] for _ in sequences]
        for step in range(max(map(len, chunkings))):
            live = [i for i, chunks in enumerate(chunkings) if step < len(chunks)]
            spans, parts = [], []
            for i in live:
                n = chunkings[i][step]
                self.poison_what_is_behind(tables[i], done[i])
                self.blocks.grow(tables[i], done[i] + n)
                spans.append(Span(done[i], n, tables[i].block_ids, tables[i].n_reclaimed))
                parts.append([x[done[i] : done[i] + n] for x in sequences[i]])
            q, k, v = (torch.cat([part[j] for part in parts]) for j in range(3))
            out = self.backend.attend(q, k, v, layer, self.backend.plan(spans))
            pieces = out.split([span.n_tokens for span in spans])
            for i, span, piece in zip(live, spans, pieces, strict=True):
                outs[i].append(piece)
                done[i] += span.n_tokens
        return [torch.cat(pieces) for pieces in outs]


@pytest.mark.parametrize("n_kv_heads", [8, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("window", [None, 1, 5, 64])
@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("chunks", [[37], [1] * 37, [1, 20, 16], [30, *[1] * 7]], ids=str)
def test_attention_over_blocks_equals_dense(n_kv_heads, window, block_size, chunks):
    """Wherever the blocks lie and however the prompt is cut, the answer is the definition's."""
    q, k, v = make_qkv(37, n_kv_heads)
    expected = dense_attention(q, k, v, window=window)

    paged = Paged(n_kv_heads=n_kv_heads, block_size=block_size, window=window)
    (actual,) = paged.run([(q, k, v)], [chunks])

    torch.testing.assert_close(actual, expected, **TOLERANCE[q.dtype])


@pytest.mark.parametrize("n_kv_heads", [8, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("window", [None, 1, 5, 64])
def test_ragged_sequences_share_a_step(n_kv_heads, window):
    """Decode rows of very different lengths and chunks of prefill, mixed in the same steps."""
    lengths = [1, 3, 9, 40, 41, 90]
    chunkings = [[1], [2, 1], [1] * 9, [37, 1, 1, 1], [5, 30, 1, 1, 1, 3], [80, *[1] * 10]]
    sequences = [make_qkv(n, n_kv_heads, seed) for seed, n in enumerate(lengths)]

    paged = Paged(n_kv_heads=n_kv_heads, block_size=4, window=window)
    actual = paged.run(sequences, chunkings)

    for (q, k, v), out in zip(sequences, actual, strict=True):
        torch.testing.assert_close(
            out, dense_attention(q, k, v, window=window), **TOLERANCE[q.dtype]
        )


def test_bfloat16_is_close_to_the_definition():
    q, k, v = make_qkv(37, 2, dtype=torch.bfloat16)
    paged = Paged(n_kv_heads=2, block_size=4, window=8, dtype=torch.bfloat16)

    (actual,) = paged.run([(q, k, v)], [[20, *[1] * 17]])

    assert actual.dtype is torch.bfloat16
    expected = dense_attention(q, k, v, window=8)
    torch.testing.assert_close(actual, expected, **TOLERANCE[torch.bfloat16])


def test_other_layers_and_other_blocks_stay_untouched():
    paged = Paged(n_kv_heads=2, block_size=4, window=None, n_blocks=8)

    paged.run([make_qkv(6, 2)], [[6]], layer=1)

    assert paged.cache.k[0].isnan().all()
    assert (~paged.cache.k[1].isnan()).sum() == 6 * 2 * HEAD_DIM


def test_decode_rows_are_few_groups():
    """Sixty-four decoding sequences of similar length cost one padded call, not sixty-four."""
    paged = Paged(n_kv_heads=2, block_size=4, window=None)
    spans = [Span(32 + i % 16, 1, list(range(12))) for i in range(64)]

    assert len(paged.backend.plan(spans).groups) == 1
