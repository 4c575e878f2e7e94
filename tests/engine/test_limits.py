"""Requests whose time is over, and several answers to one prompt."""

from dataclasses import replace

import pytest
import torch

from sirocco.engine.request import Request
from sirocco.errors import ModelFault, OutOfCapacity, TimedOut
from sirocco.types import FinishReason, SamplingParams

LONG = SamplingParams(temperature=0.0, max_tokens=100, ignore_eos=True)


class Clock:
    """Time that passes when the test says so."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def test_an_answer_that_takes_too_long_ends_with_what_was_sent(make_engine, clock):
    engine = make_engine(clock=clock)
    engine.add(Request("slow", [5, 6, 7], LONG, time_limit_s=10))
    engine.add(Request("other", [5, 6, 8], LONG))
    engine.step()

    clock.now_s += 10
    late, other = engine.step()

    assert (late.request_id, other.request_id) == ("slow", "other")
    assert isinstance(late.error, TimedOut)
    assert "10 s" in str(late.error)
    assert late.is_last
    assert late.finish_reason is FinishReason.ABORT
    assert [seq.request_id for seq in engine.scheduler.running] == ["other"]


def test_a_request_that_cannot_begin_in_time_is_refused(make_engine, clock):
    engine = make_engine(clock=clock, max_running=1)
    engine.add(Request("first", [5, 6, 7], LONG, wait_limit_s=5))
    engine.add(Request("second", [5, 6, 8], LONG, wait_limit_s=5))
    engine.step()

    clock.now_s += 5
    pieces = engine.step()

    assert [(p.request_id, type(p.error)) for p in pieces] == [
        ("second", OutOfCapacity), ("first", type(None)),
    ]  # fmt: skip


def test_a_request_that_was_preempted_has_begun(make_engine, clock):
    engine = make_engine(n_blocks=7, clock=clock)
    for name in "ab":
        engine.add(Request(name, [5, 6, 7], replace(LONG, max_tokens=40), wait_limit_s=5))
    engine.step()
    while engine.has_work and not engine.scheduler.waiting:
        engine.step()

    clock.now_s += 5

    assert len(engine.scheduler.waiting) == 1
    assert all(piece.error is None for piece in engine.step())


def pieces_of(engine):
    pieces = []
    while engine.has_work:
        pieces += engine.step()
        engine.scheduler.check_integrity()
    return pieces


def test_n_answers_come_with_their_index_and_the_last_piece_says_so(make_engine):
    engine = make_engine()
    engine.add(Request("a", list(range(5, 18)), SamplingParams(max_tokens=6, n=3, seed=1)))

    pieces = pieces_of(engine)

    assert {piece.index for piece in pieces} == {0, 1, 2}
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert engine.scheduler.blocks.n_free == engine.runner.n_blocks


def test_n_answers_compute_their_prompt_once(make_engine):
    """13 tokens in blocks of 4: the others find 12 cached and compute one."""
    engine = make_engine()
    engine.add(Request("a", list(range(5, 18)), SamplingParams(max_tokens=6, n=3, seed=1)))
    run, n_computed = engine.runner.run, []

    def record(plan):
        n_computed.append([chunk.n_tokens for chunk in plan.chunks])
        return run(plan)

    engine.runner.run = record
    pieces_of(engine)

    assert n_computed[:2] == [[13], [1, 1, 1]]


def test_an_answer_of_several_is_what_its_own_seed_gives_alone(make_engine):
    """The second answer does not depend on the first, nor on how many were asked for."""
    sampling = SamplingParams(max_tokens=12, seed=1, temperature=1.0, ignore_eos=True)
    answers = {}
    for n in (2, 4):
        engine = make_engine()
        engine.add(Request("a", [5, 6, 7], replace(sampling, n=n)))
        answers[n] = [t for p in pieces_of(engine) if p.index == 1 for t in p.token_ids]

    assert answers[2] == answers[4]
    assert len(answers[2]) == 12


def test_abort_ends_all_answers_to_a_prompt_in_any_phase(make_engine):
    for n_steps in range(4):
        engine = make_engine(max_running=2)
        engine.add(Request("a", [5, 6, 7], replace(LONG, n=2)))
        for _ in range(n_steps):
            engine.step()

        piece = engine.abort("a")

        assert piece is not None
        assert piece.is_last
        assert not engine.has_work
        assert engine.scheduler.blocks.n_free == engine.runner.n_blocks


def test_a_fault_in_one_answer_ends_the_request_once(make_engine):
    engine = make_engine()
    engine.add(Request("a", [5, 6, 7], replace(LONG, n=3)))
    engine.step()
    engine.step()
    engine.model.embedding.weight.data[:] = torch.nan

    pieces = engine.step()

    (piece,) = pieces
    assert isinstance(piece.error, ModelFault)
    assert piece.is_last
    assert not engine.has_work
