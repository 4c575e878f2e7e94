"""The tensors: a slot is block_id · block_size + offset, in every layer."""

from dataclasses import replace

import pytest
import torch

from sirocco.kvcache.format import FLOAT16, INT8, KV_FORMATS
from sirocco.kvcache.pool import KVCache, NativeKVCache
from sirocco.model.presets import preset


def test_what_is_written_to_a_slot_lies_in_its_block():
    cache = KVCache(n_layers=2, n_blocks=3, block_size=4, n_kv_heads=2, head_dim=8)
    k, v = torch.ones(1, 2, 8), torch.full((1, 2, 8), 2.0)

    cache.write(1, torch.tensor([2 * 4 + 3]), k, v)

    torch.testing.assert_close(cache.k[1][2, 3], k[0])
    torch.testing.assert_close(cache.v[1][2, 3], v[0])


def test_values_are_stored_in_the_type_of_the_cache():
    cache = KVCache(
        n_layers=1, n_blocks=1, block_size=2, n_kv_heads=1, head_dim=4, dtype=torch.bfloat16
    )

    cache.write(0, torch.tensor([0]), torch.ones(1, 1, 4), torch.ones(1, 1, 4))

    keys, _ = cache.slots(0)
    assert keys.dtype is torch.bfloat16
    assert keys.shape == (2, 1, 4)


@pytest.mark.parametrize("kv_format", KV_FORMATS.values(), ids=lambda f: f.name)
def test_a_native_cache_takes_the_bytes_its_format_says(kv_format):
    cache = NativeKVCache(
        n_layers=3, n_blocks=5, block_size=4, n_kv_heads=2, head_dim=8, format=kv_format
    )

    tensors = [*cache.k, *cache.v, *cache.k_scales, *cache.v_scales]
    held = sum(tensor.nbytes for tensor in tensors if tensor is not None)

    shape = replace(preset("breeze"), n_layers=3, n_kv_heads=2, head_dim=8)
    assert held == 5 * 4 * kv_format.bytes_per_token(shape)


def test_without_scales_a_format_costs_what_the_model_says():
    shape = preset("mistral-7b")

    n_numbers = 2 * 32 * 8 * 128  # keys and values, layers, KV heads, head_dim
    assert FLOAT16.bytes_per_token(shape) == 2 * n_numbers
    assert INT8.bytes_per_token(shape) == n_numbers + 32 * 2 * 8 * 4
