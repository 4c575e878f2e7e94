"""When an inspection may work, and how it ends."""

import pytest
import torch

from sirocco.engine.inspection.desk import InspectionDesk
from sirocco.engine.inspection.request import InspectionRequest
from sirocco.engine.inspection.run import InspectionRun
from sirocco.errors import InvalidInput, ModelFault, OutOfCapacity, TimedOut
from sirocco.model.config import ModelConfig
from sirocco.model.random_model import random_model

SHAPE = ModelConfig(
    vocab_size=259, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=48
)
LONG = [5 + i % 200 for i in range(100)]


class Clock:
    """Time that passes when the test says so, and a little at each piece."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def desk(clock):
    return InspectionDesk(random_model(SHAPE, seed=1), clock=clock)


@pytest.fixture
def slow(clock, monkeypatch):
    """Let each token take a hundredth of a second."""
    advance = InspectionRun.advance

    def advance_slowly(self, n_rows):
        clock.now_s += 0.01 * min(n_rows, self.n_left)
        return advance(self, n_rows)

    monkeypatch.setattr(InspectionRun, "advance", advance_slowly)


def asked(name="i", token_ids=LONG, **options):
    return InspectionRequest(name, token_ids, **options)


def whole(desk):
    parts = []
    while desk.has_work:
        parts.append(desk.advance())
    return parts


def test_an_inspection_comes_in_pieces_of_which_the_last_says_so(desk):
    desk.add(asked())

    parts = whole(desk)

    assert sum(len(part.rows.following) for part in parts) == len(LONG)
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]


def test_one_is_finished_before_the_next_begins(desk, slow):
    desk.add(asked("a"))
    desk.add(asked("b"))

    names = [part.request_id for part in whole(desk)]

    assert names == sorted(names)
    assert set(names) == {"a", "b"}


def test_a_piece_is_bounded_in_time_on_a_slow_machine(desk, slow, clock):
    desk.add(asked())
    while desk.has_work:
        before = clock.now_s
        desk.advance()

        assert clock.now_s - before <= 0.161  # the fewest tokens, 16


def test_while_answers_run_it_gets_a_quarter_of_the_time(desk, slow, clock):
    desk.add(asked())
    assert desk.is_due(others_wait=True)
    desk.advance()  # 0.16 s

    clock.now_s += 0.47
    assert not desk.is_due(others_wait=True)
    assert desk.is_due(others_wait=False)
    clock.now_s += 0.02
    assert desk.is_due(others_wait=True)


def test_without_an_inspection_nothing_is_due(desk):
    assert not desk.is_due(others_wait=False)


@pytest.mark.parametrize("n_pieces", [0, 1])
def test_an_aborted_one_is_forgotten_and_the_next_goes_on(desk, slow, n_pieces):
    desk.add(asked("a"))
    desk.add(asked("b", [5, 6, 7]))
    for _ in range(n_pieces):
        desk.advance()

    desk.abort("a")
    desk.abort("unknown")

    assert [part.request_id for part in whole(desk)] == ["b"]


def test_one_that_waited_too_long_is_refused(desk, clock):
    desk.add(asked("a", wait_limit_s=5))
    clock.now_s += 5

    part = desk.advance()

    assert (part.request_id, part.is_last, part.rows) == ("a", True, None)
    assert isinstance(part.error, OutOfCapacity)
    assert not desk.has_work


def test_one_that_takes_too_long_is_broken_off(desk, slow, clock):
    desk.add(asked("a", wait_limit_s=5, time_limit_s=5))
    assert desk.advance().error is None
    clock.now_s += 5

    part = desk.advance()

    assert isinstance(part.error, TimedOut)
    assert "5 s" in str(part.error)
    assert not desk.has_work


def test_a_fault_ends_one_inspection_alone(desk):
    desk._model.norm.weight.data[0] = float("nan")
    desk.add(asked("a"))
    fault = desk.advance()
    torch.nn.init.ones_(desk._model.norm.weight)
    desk.add(asked("b"))

    parts = whole(desk)

    assert isinstance(fault.error, ModelFault)
    assert parts[-1].request_id == "b"
    assert all(part.error is None for part in parts)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"layers": (0, 2)}, "'/layers' must be in 0 … 1, got 2"),
        ({"heads": (-1,)}, "'/heads' must be in 0 … 3, got -1"),
        (
            {"layers": (0, 1), "heads": (0, 1, 2, 3), "token_ids": [5] * 1025},
            "must be <= 8388608 bytes, got 2 × 4 × 1025² × 1: ask for fewer",
        ),
        (
            {"layers": (0,), "heads": (0, 1, 2, 3), "token_ids": [5] * 1025, "encoding": "float16"},
            "must be <= 8388608 bytes, got 1 × 4 × 1025² × 2: ask for fewer",
        ),
    ],
)
def test_what_the_network_lacks_or_an_answer_cannot_hold_is_refused(desk, options, text):
    with pytest.raises(InvalidInput, match=text.replace("²", ".")):
        desk.add(asked(**options))

    assert not desk.has_work
