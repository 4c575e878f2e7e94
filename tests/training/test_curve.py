"""The picture of a run: every number that it was given stands somewhere in it."""

from xml.etree import ElementTree

import pytest

from sirocco.training.curve import N_POINTS, loss_curve
from sirocco.training.state import RunLog

SVG = "{http://www.w3.org/2000/svg}"


def drawn(log, title="a run"):
    return ElementTree.fromstring(loss_curve(log, title))  # noqa: S314 - we wrote it


def points_of(line):
    return [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]


def test_a_falling_loss_is_a_falling_line():
    log = RunLog(step=4, losses=[(1, 4.0), (2, 3.0), (3, 2.5), (4, 2.4)])

    (line,) = drawn(log).iter(f"{SVG}polyline")

    places = points_of(line)
    assert places == sorted(places)  # to the right, and down: y grows downwards
    assert len(places) == 4


def test_each_phase_has_its_held_out_line_and_name():
    log = RunLog(
        step=3, losses=[(1, 4.0), (2, 3.0), (3, 2.0)],
        held_out=[(1, "pretrain", 3.9), (2, "pretrain", 3.1), (3, "tune", 2.2)],
    )  # fmt: skip

    picture = drawn(log, "x < y")

    texts = [element.text for element in picture.iter(f"{SVG}text")]
    assert {"x < y", "training", "held out, pretrain", "held out, tune", "step"} <= set(texts)
    assert len(list(picture.iter(f"{SVG}circle"))) == 3


@pytest.mark.parametrize("n_steps", [1, 299, 300, 301, 5000])
def test_many_steps_are_averaged_to_a_few_points_inside_the_picture(n_steps):
    log = RunLog(step=n_steps, losses=[(i + 1, 9.0 / (i + 1)) for i in range(n_steps)])

    (line,) = drawn(log).iter(f"{SVG}polyline")

    places = points_of(line)
    assert 1 <= len(places) <= N_POINTS
    assert all(0 <= x <= 760 and 0 <= y <= 420 for x, y in places)


def test_a_run_without_steps_says_so():
    texts = [element.text for element in drawn(RunLog()).iter(f"{SVG}text")]

    assert "no steps yet" in texts
