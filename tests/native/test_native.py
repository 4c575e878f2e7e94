"""The kernels against the model's own RMSNorm, and against what callers may do wrong."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from sirocco import native
from sirocco.errors import BackendUnavailable
from sirocco.model.layers import RMSNorm

EPS = 1e-5


@pytest.fixture(params=["scalar", "avx2"])
def isa(request: pytest.FixtureRequest) -> str:
    if request.param not in native.isas():
        pytest.skip(f"this processor or build has no {request.param}")
    return str(request.param)


def arrays(n_rows: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_rows, dim, generator=generator) * 3, torch.randn(dim, generator=generator)


@pytest.mark.parametrize("n_rows", [0, 1, 3, 17])
@pytest.mark.parametrize("dim", [1, 7, 8, 9, 31, 32, 33, 63, 100, 256, 4096, 4099])
def test_rms_norm_equals_the_models_own(isa: str, n_rows: int, dim: int) -> None:
    x, weight = arrays(n_rows, dim)
    module = RMSNorm(dim, EPS)
    module.weight.data = weight

    with torch.no_grad():
        expected, actual = module(x), native.rms_norm(x, weight, EPS, isa=isa)

    # Both round in float32; only the order of a few thousand additions differs.
    torch.testing.assert_close(actual, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-4, 1e15])
def test_tiny_and_huge_rows_follow_the_models_own(isa: str, scale: float) -> None:
    x, weight = arrays(2, 65)
    module = RMSNorm(65, EPS)
    module.weight.data = weight

    with torch.no_grad():
        expected, actual = module(x * scale), native.rms_norm(x * scale, weight, EPS, isa=isa)

    torch.testing.assert_close(actual, expected, rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("dim", [9, 100, 4099])
def test_a_row_is_the_same_bits_whatever_stands_beside_it(isa: str, dim: int) -> None:
    x, weight = arrays(11, dim)
    together = native.rms_norm(x, weight, EPS, isa=isa)

    alone = torch.cat([native.rms_norm(x[i : i + 1], weight, EPS, isa=isa) for i in range(11)])
    among_others = x * 100
    among_others[4] = x[4]

    assert torch.equal(together, alone)
    assert torch.equal(native.rms_norm(among_others, weight, EPS, isa=isa)[4], together[4])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_that_is_not_finite_touches_no_other(isa: str, bad: float) -> None:
    x, weight = arrays(5, 40)
    clean = native.rms_norm(x, weight, EPS, isa=isa)
    x[2, 17] = bad

    out = native.rms_norm(x, weight, EPS, isa=isa)

    assert out[2].isnan().any()
    for row in (0, 1, 3, 4):
        assert torch.equal(out[row], clean[row])


def test_the_input_is_left_alone(isa: str) -> None:
    x, weight = arrays(3, 33)
    before = x.clone()

    native.rms_norm(x, weight, EPS, isa=isa)

    assert torch.equal(x, before)


def test_without_a_choice_the_fastest_isa_is_taken() -> None:
    x, weight = arrays(3, 100)

    chosen = native.rms_norm(x, weight, EPS)

    assert torch.equal(chosen, native.rms_norm(x, weight, EPS, isa=native.isas()[0]))


def test_the_slowest_isa_is_always_there_and_others_only_with_their_features() -> None:
    assert native.isas()[-1] == "scalar"
    assert ("avx2" not in native.isas()) or {"avx2", "fma"} <= native.cpu_features()
    assert ("amx_int8" not in native.isas()) or {"amx_int8", "avx512"} <= native.cpu_features()


def test_an_isa_that_is_not_here_is_refused_with_those_that_are() -> None:
    x, weight = arrays(1, 8)

    with pytest.raises(BackendUnavailable, match=r"'sse9' is not usable here; usable: .*scalar"):
        native.rms_norm(x, weight, EPS, isa="sse9")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_another_dtype_is_refused(dtype: torch.dtype) -> None:
    x, weight = arrays(2, 8)

    with pytest.raises(TypeError, match="x is torch"):
        native.rms_norm(x.to(dtype), weight, EPS)
    with pytest.raises(TypeError, match="weight is torch"):
        native.rms_norm(x, weight.to(dtype), EPS)


@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "message"),
    [
        ((8,), (8,), "x has shape"),
        ((1, 2, 8), (8,), "x has shape"),
        ((2, 8), (1, 8), "weight has shape"),
        ((2, 8), (7,), "rows of 8 and weight has 7"),
        ((2, 0), (0,), "not 0"),
    ],
)
def test_another_shape_is_refused(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        native.rms_norm(torch.zeros(x_shape), torch.zeros(weight_shape), EPS)


def test_a_strided_view_is_refused() -> None:
    x, weight = arrays(8, 8)

    with pytest.raises(ValueError, match="x is not contiguous"):
        native.rms_norm(x.T, weight, EPS)


def test_a_tensor_of_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="x is on meta"):
        native.rms_norm(torch.zeros(2, 8, device="meta"), torch.zeros(8), EPS)


def test_a_wanted_gradient_is_refused_instead_of_lost() -> None:
    x, weight = arrays(2, 8)
    weight.requires_grad_()

    with pytest.raises(ValueError, match="weight wants a gradient"):
        native.rms_norm(x, weight, EPS)
    with torch.no_grad():
        assert native.rms_norm(x, weight, EPS).shape == (2, 8)


def test_a_missing_extension_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_not_built", ImportError("no module"))

    with pytest.raises(BackendUnavailable, match="make setup"):
        native.isas()


def test_everything_else_works_without_the_extension():
    """In a process of its own, where the import of the extension fails."""
    program = (
        "import sys; sys.modules['sirocco.native._kernels'] = None\n"
        "from sirocco import LLM, SamplingParams, native\n"
        "assert not native.is_built()\n"
        "llm = LLM.random('breeze', max_seq_len=64)\n"
        "print(len(llm.generate('hi', SamplingParams(max_tokens=5, ignore_eos=True))[0].token_ids))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
