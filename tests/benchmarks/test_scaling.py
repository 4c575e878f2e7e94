"""The arithmetic of the scaling table: a loss read at the wrong place would be believed."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("scaling")


def test_a_loss_between_two_measurements_is_read_in_the_logarithm_of_the_tokens(scaling):
    points = [(100, 6.0), (400, 4.0), (1600, 3.0)]

    assert scaling.loss_at(points, 400) == pytest.approx(4.0)
    assert scaling.loss_at(points, 200) == pytest.approx(5.0)
    assert scaling.loss_at(points, 800) == pytest.approx(3.5)


def test_no_loss_is_made_up_beyond_the_measurements(scaling):
    assert scaling.loss_at([(100, 6.0), (400, 4.0)], 99) is None
    assert scaling.loss_at([(100, 6.0), (400, 4.0)], 401) is None
    assert scaling.loss_at([], 100) is None


def test_sizes_get_equal_compute_and_are_called_what_they_are(scaling):
    for name, shape in scaling.SHAPES.items():
        assert f"{shape.n_parameters / 1e6:.1f}M" == name
        for budget in scaling.budgets(3)[1:]:
            spent = 6 * shape.n_parameters * scaling.steps_of(shape, budget) * 2048
            assert spent == pytest.approx(budget, rel=0.02)
