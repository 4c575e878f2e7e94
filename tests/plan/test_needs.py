"""The arithmetic of a network's needs, against networks that are there."""

import pytest
import torch

from sirocco.kvcache.format import FLOAT16, INT8
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS
from sirocco.model.presets import PRESETS, preset
from sirocco.model.transformer import Transformer
from sirocco.plan.needs import BITS_PER_WEIGHT, Needs

SMALL = ModelConfig(
    vocab_size=97, dim=32, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=64, window=5
)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_the_engine_takes_the_bits_the_engine_says(name):
    assert BITS_PER_WEIGHT[name] == FORMATS[name].bits_per_weight


@pytest.mark.parametrize("name", PRESETS)
def test_the_weights_of_a_network_are_counted_to_the_byte(name):
    with torch.device("meta"):
        network = Transformer(preset(name))

    counted = Needs(preset(name), "float32", FLOAT16).weights_bytes

    assert counted == sum(parameter.nbytes for parameter in network.parameters())


@pytest.mark.parametrize("name", ["fp8", "int4"])
def test_formats_of_the_layers_alone_keep_embedding_and_head_in_bfloat16(name):
    rounded, plain = (Needs(SMALL, weights, FLOAT16) for weights in (name, "bfloat16"))
    n_in_layers = plain.n_in_matrices - 97 * 32

    saved = n_in_layers * (16 - BITS_PER_WEIGHT[name]) / 8

    assert plain.weights_bytes - rounded.weights_bytes == saved
    assert plain.step_bytes - rounded.step_bytes == saved


def test_a_step_reads_everything_but_the_embedding():
    needs = Needs(SMALL, "float32", FLOAT16)

    assert needs.weights_bytes - needs.step_bytes == 4 * 97 * 32


def test_keys_and_values_stop_growing_at_the_window():
    needs = Needs(SMALL, "q8", FLOAT16)

    assert needs.kv_bytes_per_token == 2 * 3 * 2 * 8 * 2
    assert [needs.kv_bytes(n) for n in (4, 5, 6, 500)] == [4 * 192, 5 * 192, 5 * 192, 5 * 192]


@pytest.mark.parametrize("n_tokens", [1, 4, 5, 6, 40])
def test_a_prompt_costs_the_pairs_that_its_tokens_see(n_tokens):
    needs = Needs(SMALL, "q8", INT8)
    n_pairs = sum(min(i + 1, 5) for i in range(n_tokens))
    head = 97 * 32
    linear = (needs.n_in_matrices - head) * n_tokens + head

    assert needs.prefill_operations(n_tokens) == 2 * linear + 4 * 3 * 4 * 8 * n_pairs
