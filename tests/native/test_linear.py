"""Low-bit linear layers: against the definition, against floats, and bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco import native
from sirocco.native.linear import (
    QuantizedMatrix,
    add_linear,
    linear,
    quantize,
    rows_of,
    settle,
    tile_shapes,
)

BITS = [4, 8]
# Relative error of the product of rounded random weights and 8-bit activations with the exact one.
TOLERANCE = {4: 0.12, 8: 0.012}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative_error(actual, expected):
    return ((actual - expected).norm() / expected.norm()).item()


def rounded_activations(x):
    """Activations as the kernels round them, in numpy: 8 bits in groups of 32."""
    groups = x.numpy().reshape(x.shape[0], -1, 32)
    largest = np.abs(groups).max(axis=2, keepdims=True)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    whole = np.rint(groups * inverse)
    return torch.from_numpy((whole * (largest / np.float32(127))).reshape(x.shape))


@pytest.fixture
def threads():
    before = native.n_threads()
    yield native.set_n_threads
    native.set_n_threads(before)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 32), (16, 64), (40, 96), (257, 320)])
def test_the_product_is_that_of_the_rounded_numbers(bits, n_rows, n_columns):
    matrix = quantize(random(n_rows, n_columns), bits)
    x = random(5, n_columns, seed=1)

    (actual,) = linear(x, [matrix])

    expected = rounded_activations(x).double() @ rows_of(matrix).double().T
    torch.testing.assert_close(actual.double(), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("bits", BITS)
def test_rounding_loses_little(bits):
    weight, x = random(64, 512), random(7, 512, seed=1)

    (actual,) = linear(x, [quantize(weight, bits)])

    assert relative_error(actual, x @ weight.T) < TOLERANCE[bits]


@pytest.mark.parametrize("bits", BITS)
def test_a_better_scale_is_found_than_that_of_the_largest_weight(bits):
    weight = random(32, 1024)
    groups = weight.view(-1, 32)
    if bits == 4:
        most = groups.gather(1, groups.abs().argmax(1, keepdim=True))
        scale = (most / -8).half().float()
        plain = ((groups / scale).round().clamp(-8, 7) * scale).view_as(weight)
    else:
        scale = (groups.abs().amax(1, keepdim=True) / 127).half().float()
        plain = ((groups / scale).round().clamp(-127, 127) * scale).view_as(weight)

    ours = rows_of(quantize(weight, bits))

    assert relative_error(ours, weight) < relative_error(plain, weight)


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from(BITS),
    n_rows=st.integers(1, 70),
    n_groups=st.integers(1, 5),
    n_tokens=st.integers(1, 70),
    seed=st.integers(0, 2**16),
)
def test_every_instruction_set_gives_the_same_bits(bits, n_rows, n_groups, n_tokens, seed):
    matrix = quantize(random(n_rows, 32 * n_groups, seed=seed), bits)
    x = random(n_tokens, 32 * n_groups, seed=seed + 1) * 10

    first, *others = [linear(x, [matrix], isa=isa)[0] for isa in native.isas()]

    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("n_groups", [1, 2, 31, 32, 33, 67])
def test_instruction_sets_agree_on_long_rows_too(bits, n_groups):
    matrix = quantize(random(35, 32 * n_groups), bits)
    x = random(85, 32 * n_groups, seed=1)

    first, *others = [linear(x, [matrix], isa=isa)[0] for isa in native.isas()]

    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("n_tokens", [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 64, 65, 130])
def test_a_row_has_the_same_bits_whatever_stands_beside_it(bits, n_tokens, threads):
    matrix = quantize(random(200, 128), bits)
    x = random(n_tokens, 128, seed=2)
    alone = torch.cat([linear(row[None].contiguous(), [matrix])[0] for row in x])

    for n in (1, 2, 3):
        threads(n)
        assert torch.equal(linear(x, [matrix])[0], alone)


def test_several_matrices_in_one_go_give_what_each_gives_alone():
    matrices = [quantize(random(n, 64, seed=n), bits) for n, bits in ((5, 4), (33, 8), (100, 4))]
    x = random(3, 64)

    together = linear(x, matrices)

    assert all(
        torch.equal(out, linear(x, [matrix])[0])
        for out, matrix in zip(together, matrices, strict=True)
    )


@pytest.mark.parametrize("isa", native.isas())
def test_adding_adds_the_product_in_place(isa):
    matrix, x, residual = quantize(random(40, 64), 4), random(6, 64), random(6, 40, seed=3)
    expected = residual + linear(x, [matrix])[0]

    add_linear(residual, x, matrix, isa=isa)

    assert torch.equal(residual, expected)


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_spoils_its_own_row_alone(isa, bad):
    matrix, x = quantize(random(20, 64), 4), random(9, 64)
    (expected,) = linear(x, [matrix], isa=isa)
    x[4, 33] = bad

    (actual,) = linear(x, [matrix], isa=isa)

    assert actual[4].isnan().all()
    others = [i for i in range(9) if i != 4]
    assert torch.equal(actual[others], expected[others])


@pytest.mark.parametrize("isa", native.isas())
def test_extreme_weights_and_activations_do_not_overflow(isa):
    weight = torch.full((16, 64), 1.0)
    weight[::2] = -1.0
    x = torch.full((4, 64), 1.0)
    x[1] = -1.0

    for bits in BITS:
        (out,) = linear(x, [quantize(weight, bits)], isa=isa)

        torch.testing.assert_close(out, x @ weight.T, rtol=0.01, atol=0.0)


@pytest.mark.parametrize("bits", BITS)
def test_zero_is_exact(bits):
    assert not rows_of(quantize(torch.zeros(17, 32), bits)).any()
    assert not linear(torch.zeros(2, 32), [quantize(random(17, 32), bits)])[0].any()


@pytest.mark.parametrize("bits", BITS)
def test_rows_can_be_had_back_one_by_one(bits):
    matrix = quantize(random(50, 96), bits)
    rows = torch.tensor([49, 0, 17, 17])

    assert torch.equal(rows_of(matrix, rows), rows_of(matrix)[rows])


def test_bits_per_weight_are_those_of_gguf():
    for bits, expected in ((4, 4.5), (8, 8.5)):
        matrix = quantize(random(64, 320), bits)
        n_bytes = matrix.tiles.numel() + 2 * matrix.scales.numel()
        assert 8 * n_bytes / (64 * 320) == expected


@pytest.mark.parametrize("row", [-1, 20])
def test_a_row_that_is_not_there_is_refused(row):
    with pytest.raises(ValueError, match="not in the matrix"):
        rows_of(quantize(random(20, 32), 4), torch.tensor([row]))


@pytest.mark.parametrize(
    ("n_columns", "bits", "named"), [(31, 4, "multiple of 32"), (0, 4, "32"), (32, 5, "bits")]
)
def test_what_cannot_be_rounded_is_refused(n_columns, bits, named):
    with pytest.raises(ValueError, match=named):
        quantize(torch.zeros(4, n_columns), bits)
    with pytest.raises(ValueError, match=named):
        tile_shapes(4, n_columns, bits)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (torch.zeros(2, 64), ValueError),
        (torch.zeros(2, 32, dtype=torch.float64), TypeError),
        (torch.zeros(32), ValueError),
        (torch.zeros(32, 2).T, ValueError),
    ],
)
def test_activations_of_another_shape_or_dtype_are_refused(x, error):
    with pytest.raises(error):
        linear(x, [quantize(random(4, 32), 4)])


def test_tiles_that_are_not_of_a_matrix_are_refused():
    good = quantize(random(20, 64), 4)
    for tiles, scales, n_rows in (
        (good.tiles[:1].contiguous(), good.scales, 20),
        (good.tiles, good.scales[:, :1].contiguous(), 20),
        (good.tiles[..., :100].contiguous(), good.scales, 20),
        (good.tiles, good.scales, 100),
        (good.tiles, good.scales, 0),
    ):
        with pytest.raises(ValueError, match="shape of a quantised matrix"):
            linear(torch.zeros(1, 64), [QuantizedMatrix(tiles, scales, n_rows)])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16])
@pytest.mark.parametrize("n", [1, 4097, 5_000_000])
def test_settled_weights_are_the_same_and_the_file_can_still_be_read(tmp_path, dtype, n):
    from safetensors import safe_open
    from safetensors.torch import save_file

    numbers = torch.arange(n).remainder(251).to(dtype)
    save_file({"x": numbers}, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        mapped = file.get_tensor("x")

        settled = settle(mapped)

        assert torch.equal(settled, numbers)
        assert torch.equal(mapped, numbers)
