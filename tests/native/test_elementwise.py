"""SwiGLU and rotary positions, against torch."""

import pytest
import torch
import torch.nn.functional as F

from sirocco import native
from sirocco.native.elementwise import rotate_, swiglu


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotated(x, cosine, sine):
    """The definition, in double precision."""
    first, second = x.double().chunk(2, dim=-1)
    c, s = cosine.double()[:, None], sine.double()[:, None]
    return torch.cat((first * c - second * s, second * c + first * s), dim=-1).float()


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 640), (70, 513)])
def test_swiglu_equals_torch(isa, shape):
    gate, value = random(*shape) * 5, random(*shape, seed=1)

    actual = swiglu(gate, value, isa=isa)

    expected = (F.silu(gate.double()) * value.double()).float()
    torch.testing.assert_close(actual, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("isa", native.isas())
def test_swiglu_of_extreme_numbers_is_what_it_should_be(isa):
    gate = torch.tensor([[-1e30, -200.0, -88.0, 0.0, 88.0, 200.0, 1e30, float("nan")]])

    actual = swiglu(gate, torch.ones_like(gate), isa=isa)

    assert actual[0, 3] == 0
    assert actual[0, -1].isnan()
    assert torch.equal(actual[0, 4:7], gate[0, 4:7])
    assert (actual[0, 1:3].abs() < 1e-35).all()
    assert actual[0, 0].isfinite()


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize(
    ("n_tokens", "n_heads", "d"), [(1, 1, 2), (3, 4, 8), (300, 2, 64), (2, 3, 30)]
)
def test_rotation_equals_its_definition(isa, n_tokens, n_heads, d):
    x, angle = random(n_tokens, n_heads, d), random(n_tokens, d // 2, seed=1)
    expected = rotated(x, angle.cos(), angle.sin())

    actual = rotate_(x, angle.cos(), angle.sin(), isa=isa)

    assert actual is x
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


def test_a_row_has_the_same_bits_whatever_stands_beside_it():
    gate, value = random(200, 333), random(200, 333, seed=1)
    x, angle = random(200, 3, 16), random(200, 8, seed=2)

    together, turned = swiglu(gate, value), rotate_(x.clone(), angle.cos(), angle.sin())

    for row in (0, 57, 199):
        one = slice(row, row + 1)
        assert torch.equal(swiglu(gate[one], value[one]), together[one])
        alone = rotate_(x[one].clone(), angle[one].cos(), angle[one].sin())
        assert torch.equal(alone, turned[one])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        swiglu(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\[T, D/2\]"):
        rotate_(torch.zeros(2, 1, 8), torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(TypeError, match="float32"):
        swiglu(torch.zeros(2, 3).double(), torch.zeros(2, 3))
