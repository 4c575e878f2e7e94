"""What an engine says of itself."""

import pytest
import torch

from sirocco.engine.inspection.shape import EngineShape
from sirocco.kvcache.format import FLOAT16, FLOAT32, INT8
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS
from sirocco.model.random_model import random_model
from sirocco.model.weights import load_model, save_model


def test_groupings_go_from_mqa_to_mha_by_every_divisor():
    shape = EngineShape(5, 12, 4, 32, 256, 4096, 4096, 16, 9, "float32", FLOAT16)

    assert [other.n_kv_heads for other in shape.groupings] == [1, 2, 3, 4, 6, 12]
    assert [other.group_size for other in shape.groupings] == [12, 6, 4, 3, 2, 1]


def test_bytes_of_a_token_are_those_of_the_cache_format():
    """Keys and values of 5 layers and 4 KV heads: 32 numbers of a byte, and a scale of four."""
    shape = EngineShape(5, 12, 4, 32, None, 4096, 4096, 16, 9, "q8", INT8)

    assert shape.kv_bytes_per_token == 2 * 5 * 4 * (32 + 4)
    assert shape.groupings[0].kv_bytes_per_token == 2 * 5 * 1 * (32 + 4)


def test_the_engines_own_shape_is_that_of_its_cache(make_engine):
    engine = make_engine(n_blocks=7, block_size=4)

    shape = engine.shape

    assert (shape.n_heads, shape.n_kv_heads, shape.window) == (4, 2, 16)
    assert (shape.n_blocks, shape.block_size) == (7, 4)
    assert shape.kv_bytes_per_token == FLOAT32.bytes_per_token(engine.model.config)
    assert shape.weights == "float32"


@pytest.mark.parametrize("name", ["float32", "bfloat16", "q8", "q4", "fp8", "int4"])
def test_the_format_of_the_weights_is_named(tmp_path, name):
    shape = ModelConfig(
        vocab_size=256, dim=128, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=32, hidden_dim=128
    )
    save_model(random_model(shape, seed=1), tmp_path)

    model = load_model(tmp_path, device=torch.device("cpu"), weights=FORMATS[name])

    assert model.weight_format == name
