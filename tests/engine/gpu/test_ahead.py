"""Decode ahead of the host, on a CPU: rows, sampling and steps as on a GPU, without its graphs.

The kernels run in Triton's interpreter, which is slow, so the network and the answers are tiny.
"""

import os
from typing import Any

import pytest
import torch
from tests.engine.conftest import lively
from tests.left_out import TRITON, leave_out

from sirocco.attention.choice import has_triton
from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine
from sirocco.engine.request import Request
from sirocco.kvcache.format import FLOAT32
from sirocco.model.config import ModelConfig
from sirocco.model.random_model import random_model
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.types import FinishReason, SamplingParams

os.environ.setdefault("TRITON_INTERPRET", "1")  # read when the kernels are first imported

SMALLEST = ModelConfig(
    vocab_size=259, dim=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, hidden_dim=24,
    window=12, max_seq_len=64,
)  # fmt: skip

pytestmark = pytest.mark.timeout(900)  # for machines that are busy


@pytest.fixture(autouse=True)
def triton_is_there():
    if not has_triton():
        leave_out(TRITON)


class Counted:
    """A recorder that counts what was recorded, and how often it was started."""

    def __init__(self):
        self.n_recorded = self.n_started = 0

    def record(self, work):
        self.n_recorded += 1
        work()  # as a graph's first run: it must do no harm

        def start():
            self.n_started += 1
            work()

        return start


def engine_ahead(recorder=None, n_blocks=32, **limits: Any) -> Engine:
    from sirocco.engine.gpu.ahead import AheadDecoder

    return engine_with("triton", lambda runner: AheadDecoder.of(runner, recorder or Counted()),
                       n_blocks, **limits)  # fmt: skip


def engine_with(attention, decoder, n_blocks=32, **limits: Any) -> Engine:
    model = lively(random_model(SMALLEST, seed=3))
    config = EngineConfig(
        attention=attention, block_size=4, max_running=limits.pop("max_running", 4),
        kv_cache_bytes=n_blocks * 4 * FLOAT32.bytes_per_token(SMALLEST), n_guesses=0,
        **limits,
    )  # fmt: skip
    return Engine(model, ByteTokenizer(), config, decoder=decoder)


def run(engine, requests, check=True):
    token_ids: dict[str, list[int]] = {}
    reasons = {}
    for request in requests:
        engine.add(request)
    while engine.has_work:
        for piece in engine.step():
            token_ids.setdefault(piece.request_id, []).extend(piece.token_ids)
            reasons[piece.request_id] = piece.finish_reason
        if check:
            engine.scheduler.check_integrity()
    return token_ids, reasons


SAMPLINGS = [
    SamplingParams(max_tokens=9, temperature=0.0),
    SamplingParams(max_tokens=6, temperature=1.0, seed=5),
    SamplingParams(max_tokens=8, temperature=0.8, top_p=0.9, top_k=20, seed=6),
    SamplingParams(max_tokens=4, temperature=1.2, min_p=0.02, seed=7),
]


def requests(samplings=SAMPLINGS):
    return [
        Request(f"r{i}", list(b"seven winds blow"[: 3 + 4 * i]), sampling)
        for i, sampling in enumerate(samplings)
    ]


def test_tokens_are_those_of_a_cpu():
    """Four ways to sample, prompts of four lengths, answers that end at different steps."""
    recorder = Counted()
    expected = run(engine_with("sdpa", lambda runner: None), requests())

    actual = run(engine_ahead(recorder), requests())

    assert actual == expected
    assert recorder.n_started >= 8  # nearly all of the steps, or this test shows nothing
    assert recorder.n_recorded < recorder.n_started


def test_a_step_is_under_way_before_the_host_has_read_the_last(monkeypatch):
    from sirocco.engine.gpu import ahead

    events: list[str] = []
    choices, launch = ahead.Flight.choices, ahead.AheadDecoder.launch

    def noted(name, work):
        def note_and_work(self, *args, **kwargs):
            events.append(name)
            return work(self, *args, **kwargs)

        return note_and_work

    monkeypatch.setattr(ahead.Flight, "choices", noted("read", choices))
    monkeypatch.setattr(ahead.AheadDecoder, "launch", noted("launch", launch))

    run(engine_ahead(), requests([SamplingParams(max_tokens=5, temperature=0.0)]))

    assert events == ["launch", "launch", "read", "launch", "read", "launch", "read", "read"]


def test_penalties_and_biases_are_kept_on_the_device():
    """Beside a row without any; the second wave finds rows that others had, counts and all."""
    waves = [
        requests([
            SamplingParams(max_tokens=9, temperature=0.0, repetition_penalty=1.8),
            SamplingParams(max_tokens=9, temperature=0.0),
            SamplingParams(max_tokens=7, temperature=1.0, seed=5, frequency_penalty=1.5,
                           presence_penalty=0.5, logit_bias={5: 3.0, 9: -100.0}),
            SamplingParams(max_tokens=8, temperature=0.7, top_p=0.9, seed=6, logit_bias={7: 6.0}),
        ]),
        requests([
            SamplingParams(max_tokens=6, temperature=0.0),
            SamplingParams(max_tokens=6, temperature=0.0, presence_penalty=2.0),
        ]),
    ]  # fmt: skip
    recorder = Counted()
    plain, ahead = engine_with("sdpa", lambda runner: None), engine_ahead(recorder)
    for wave in waves:
        expected = run(plain, wave)

        actual = run(ahead, wave)

        assert actual == expected
    assert recorder.n_started >= 10


def test_what_the_device_cannot_choose_goes_the_other_way():
    samplings = [SamplingParams(max_tokens=4, temperature=0.0, logprobs=0)]
    recorder = Counted()
    expected = run(engine_with("sdpa", lambda runner: None), requests(samplings))

    actual = run(engine_ahead(recorder), requests(samplings))

    assert actual == expected
    assert recorder.n_started == 0


def test_an_answer_that_ends_early_costs_a_row_and_nothing_else():
    """Its end is known a step late. A newcomer comes meanwhile, and takes its blocks."""
    (first,) = run(engine_with("sdpa", lambda runner: None), requests(SAMPLINGS[:1]))[0].values()
    long = SamplingParams(max_tokens=9, temperature=0.0)
    both = requests([long, long])
    expected = run(engine_with("sdpa", lambda runner: None), both[1:])[0]["r1"]
    engine = engine_ahead(n_blocks=9)
    engine._end_token_ids = lambda: {first[3]}  # type: ignore[method-assign]
    engine.add(both[0])

    seen: dict[str, list[int]] = {"r0": [], "r1": []}
    while engine.has_work:
        for piece in engine.step():
            seen[piece.request_id] += piece.token_ids
            if piece.request_id == "r0" and piece.finish_reason is FinishReason.STOP:
                engine._end_token_ids = set  # type: ignore[method-assign]
                engine.add(both[1])
        engine.scheduler.check_integrity()

    assert seen["r0"] == first[: first.index(first[3]) + 1]
    assert seen["r1"] == expected
    assert engine.scheduler.blocks.n_free == engine.runner.n_blocks


def test_an_answer_can_be_aborted_while_its_step_is_under_way():
    engine = engine_ahead()
    for request in requests(SAMPLINGS[:2]):
        engine.add(request)
    for _ in range(3):
        engine.step()
    assert engine._flight is not None

    engine.abort("r0")
    token_ids, _ = run(engine, [])

    assert set(token_ids) == {"r1"}
    assert engine.scheduler.blocks.n_free == engine.runner.n_blocks


def test_logits_that_are_no_numbers_end_that_answer(monkeypatch):
    engine = engine_ahead()
    engine.add(requests(SAMPLINGS[:1])[0])
    engine.step()
    forward = engine.model.logits

    monkeypatch.setattr(engine.model, "logits", lambda x: forward(x) * torch.nan)
    pieces = [piece for _ in range(3) if engine.has_work for piece in engine.step()]

    assert pieces[-1].error is not None
    assert "not finite" in str(pieces[-1].error)
