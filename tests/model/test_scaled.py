"""Weights of 8 and 4 bits for GPUs, by what they compute on a CPU."""

from dataclasses import replace
from operator import attrgetter

import pytest
import torch
from torch.nn import functional as F

from sirocco.engine.loading import choose_weights
from sirocco.errors import BackendUnavailable
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS
from sirocco.model.random_model import random_model
from sirocco.model.scaled import Fp8Linear, Int4Linear

SHAPE = ModelConfig(
    vocab_size=96, dim=128, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=32, hidden_dim=256,
)  # fmt: skip


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def relative_error(actual, expected):
    return ((actual.float() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("layer", "most"), [(Fp8Linear.of, 0.05), (Int4Linear, 0.12)])
def test_a_product_is_near_that_of_the_float_weights(layer, most):
    """A number of e4m3 is 1/16 off at most, and 16 levels over ±2.5 deviations are coarser."""
    weight, x = random(64, 256), torch.randn(5, 256).bfloat16()

    out = layer(weight)(x)

    assert out.dtype is torch.bfloat16
    assert relative_error(out, F.linear(x.float(), weight)) < most


def test_rows_have_scales_of_their_own():
    weight, x = random(32, 64), random(3, 64)
    weight[5] *= 1000
    x[1] *= 0.001

    out = Fp8Linear.of(weight)(x)

    expected = F.linear(x, weight)
    for row in range(3):
        assert relative_error(out[row, :5], expected[row, :5]) < 0.1
    assert relative_error(out[:, 5], expected[:, 5]) < 0.1


def test_zeros_stay_zeros():
    assert not Fp8Linear.of(torch.zeros(16, 32))(random(2, 32)).any()
    assert not Int4Linear(torch.zeros(16, 128))(torch.ones(2, 128).bfloat16()).any()


@pytest.mark.parametrize(("name", "most"), [("fp8", 0.06), ("int4", 0.2)])
def test_a_network_is_near_the_one_it_was_made_of(name, most):
    """All of its matrices but embedding and head are rounded."""
    token_ids, positions = torch.arange(12), torch.arange(12)
    expected = random_model(SHAPE, weights=FORMATS["bfloat16"])(token_ids, positions)
    model = random_model(SHAPE, weights=FORMATS[name])

    actual = model(token_ids, positions)

    rounded = [m for m in model.modules() if isinstance(m, Fp8Linear | Int4Linear)]
    assert len(rounded) == 7 * SHAPE.n_layers
    assert isinstance(model.head, torch.nn.Linear)
    assert relative_error(actual, expected) < most
    assert model.weight_format == name


@pytest.mark.parametrize("name", ["float32", "bfloat16", "fp8", "int4"])
def test_joined_matrices_compute_the_same(name):
    token_ids, positions = torch.arange(12), torch.arange(12)
    form = replace(FORMATS[name], is_packed=False)
    expected = random_model(SHAPE, weights=form)(token_ids, positions)
    model = random_model(SHAPE, weights=form)

    model.fuse()

    torch.testing.assert_close(model(token_ids, positions), expected, atol=2e-2, rtol=2e-2)
    joined = [fused is not None for fused in map(attrgetter("attention.fused"), model.layers)]
    assert all(joined) is (name != "int4")


@pytest.mark.parametrize("name", ["fp8", "int4"])
def test_a_cpu_is_refused(name):
    with pytest.raises(BackendUnavailable, match=f"weights {name} need a GPU; the device is cpu"):
        choose_weights(name, SHAPE, torch.device("cpu"))
