from dataclasses import replace

import pytest
import torch

from sirocco.lab.decode import DecodeBench
from sirocco.lab.variants import variants_of


def bench_of(tiny, name, **changes):
    variant = next(v for v in variants_of(tiny.decode.shape, multiple_of=32) if v.name == name)
    variant = replace(variant, shape=replace(variant.shape, **changes))
    return DecodeBench(variant, kv_cache_bytes=tiny.decode.kv_cache_bytes, n_runs=1)


def test_the_largest_batch_fills_the_cache(tiny):
    """2 layers, 2 · 16 heads · 8 numbers of 2 bytes: 1 KiB a token, so 512 KiB hold 512 tokens."""
    bench = bench_of(tiny, "MHA")

    assert bench.kv_bytes_per_token == 1024
    assert bench.largest_batch(64) == 8
    assert bench.largest_batch(65) == 6  # five blocks each, of 32
    assert bench.largest_batch(512) == 1
    assert bench.largest_batch(513) == 0


@pytest.mark.parametrize(("name", "batch"), [("GQA-8", 16), ("GQA-4", 32), ("MQA", 128)])
def test_fewer_kv_heads_fit_more_sequences(tiny, name, batch):
    assert bench_of(tiny, name).largest_batch(64) == batch


def test_a_step_is_timed_and_gives_its_blocks_back(tiny):
    bench = bench_of(tiny, "GQA-4")

    time = bench.measure(64, 4)

    assert time.step_s > 0
    assert time.attention_s > 0
    assert time.tokens_per_s == 4 / time.step_s
    assert time.kv_held_bytes == 4 * 64 * 256
    blocks = bench.engine.scheduler.blocks
    assert blocks.n_free == blocks.n_blocks
    blocks.check_integrity()


@pytest.mark.parametrize("context", [17, 63, 64, 65, 1000])
def test_with_a_window_a_sequence_holds_the_window_alone(tiny, context):
    bench = bench_of(tiny, "GQA-4", window=64)

    assert bench.measure(context, 1).kv_held_bytes <= (64 // 16 + 1) * 16 * 256
    assert bench.n_blocks_held(context) == min(-(-context // 16), 4 + (context % 16 != 0))


def test_every_slot_of_the_cache_is_written(tiny):
    """Memory that was never written is read from one page: it would look too fast."""
    cache = bench_of(tiny, "MQA").engine.runner.backend.cache

    for tensor in (*cache.k, *cache.v):
        assert torch.isfinite(tensor).all()
        assert tensor.float().flatten().std() > 0.5
        assert (tensor == 0).float().mean() < 0.01
