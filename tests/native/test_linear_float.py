"""Linear layers of float32: the same bits alone and in company, on every instruction set."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco import native
from sirocco.native.linear import FloatMatrix, Matrix, add_linear, linear, pack, quantize, rows_of


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def threads():
    before = native.n_threads()
    yield native.set_n_threads
    native.set_n_threads(before)


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 1), (32, 64), (97, 131), (70, 300)])
def test_the_product_is_that_of_torch(isa, n_rows, n_columns):
    weight, x = random(n_rows, n_columns), random(5, n_columns, seed=1)

    (actual,) = linear(x, [pack(weight)], isa=isa)

    torch.testing.assert_close(actual, x @ weight.T, atol=2e-5, rtol=1e-5)


def test_a_result_is_one_chain_of_fused_multiply_adds():
    """In float64 a product of two float32 is exact, and so few bits are lost by their sum that
    rounding it again gives what the fused operation gives; with these seeds it always does."""
    weight, x = random(3, 50), random(2, 50, seed=1)
    chain = torch.zeros(2, 3)
    for k in range(50):
        chain = (x[:, k, None].double() * weight[None, :, k].double() + chain.double()).float()

    assert torch.equal(linear(x, [pack(weight)])[0], chain)


@settings(max_examples=60, deadline=None)
@given(
    n_rows=st.integers(1, 100),
    n_columns=st.integers(1, 300),
    n_tokens=st.integers(1, 40),
    seed=st.integers(0, 2**16),
)
def test_every_instruction_set_gives_the_same_bits(n_rows, n_columns, n_tokens, seed):
    matrix = pack(random(n_rows, n_columns, seed=seed))
    x = random(n_tokens, n_columns, seed=seed + 1) * 10

    first, *others = [linear(x, [matrix], isa=isa)[0] for isa in native.isas()]

    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 4, 11, 12, 13, 31, 192, 193, 390])
def test_a_row_has_the_same_bits_whatever_stands_beside_it(n_tokens, threads):
    matrix = pack(random(600, 140))
    x = random(n_tokens, 140, seed=2)
    alone = torch.cat([linear(row[None].contiguous(), [matrix])[0] for row in x])

    for n in (1, 2, 3):
        threads(n)
        assert torch.equal(linear(x, [matrix])[0], alone)


def test_matrices_of_both_kinds_in_one_go_give_what_each_gives_alone():
    weight, x = random(70, 64), random(3, 64, seed=1)
    matrices: list[Matrix] = [pack(weight), quantize(weight, 8), pack(weight[:33].contiguous())]

    together = linear(x, matrices)

    assert all(
        torch.equal(out, linear(x, [matrix])[0])
        for out, matrix in zip(together, matrices, strict=True)
    )


@pytest.mark.parametrize("isa", native.isas())
def test_adding_adds_the_product_in_place(isa):
    matrix, x, residual = pack(random(40, 65)), random(6, 65), random(6, 40, seed=3)
    expected = residual + linear(x, [matrix])[0]

    add_linear(residual, x, matrix, isa=isa)

    assert torch.equal(residual, expected)


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_spoils_its_own_row_alone(isa, bad):
    matrix, x = pack(random(20, 64)), random(15, 64)
    (expected,) = linear(x, [matrix], isa=isa)
    x[4, 33] = bad

    (actual,) = linear(x, [matrix], isa=isa)

    assert not actual[4].isfinite().any()
    others = [i for i in range(15) if i != 4]
    assert torch.equal(actual[others], expected[others])


@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 1), (31, 5), (32, 64), (100, 77)])
def test_packed_weights_can_be_had_back(n_rows, n_columns):
    weight = random(n_rows, n_columns)
    some = torch.tensor([n_rows - 1, 0, n_rows - 1])

    assert torch.equal(rows_of(pack(weight)), weight)
    assert torch.equal(rows_of(pack(weight), some), weight[some])


@pytest.mark.parametrize("row", [-1, 20])
def test_a_row_that_is_not_there_is_refused(row):
    with pytest.raises(ValueError, match="not in the matrix"):
        rows_of(pack(random(20, 32)), torch.tensor([row]))


def test_panels_that_are_not_of_a_matrix_are_refused():
    good = pack(random(40, 7))
    for panels, n_rows in (
        (good.panels[:1].contiguous(), 40),
        (good.panels[..., :31].contiguous(), 40),
        (good.panels[:, :0].contiguous(), 40),
        (good.panels, 65),
        (good.panels, 0),
    ):
        with pytest.raises(ValueError, match="shape of a matrix of floats"):
            FloatMatrix(panels, n_rows)


@pytest.mark.parametrize("x", [torch.zeros(2, 64), torch.zeros(32, 2).T])
def test_activations_of_another_shape_are_refused(x):
    with pytest.raises(ValueError, match=r"wants x \[T, K\]|not contiguous"):
        linear(x, [pack(random(4, 32))])


@pytest.mark.parametrize(
    ("weight", "error"),
    [
        (torch.zeros(2, 32, dtype=torch.float64), TypeError),
        (torch.zeros(32), ValueError),
        (torch.zeros(32, 2).T, ValueError),
    ],
)
def test_what_cannot_be_packed_is_refused(weight, error):
    with pytest.raises(error):
        pack(weight)
