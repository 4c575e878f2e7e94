"""What the server counts is what happened, and names nobody."""

import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.api.conftest import MODEL
from tests.api.test_run import GREEDY
from tests.served import wait_until

ROUTE = "run_model"


@pytest.fixture
def counted(server):
    """Read a series; 0 if there is none."""

    def value(name, **labels):
        answer = httpx.get(f"{server.url}/metrics", timeout=60)
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        samples = [s for f in text_string_to_metric_families(answer.text) for s in f.samples]
        return next((s.value for s in samples if (s.name, s.labels) == (name, labels)), 0)

    return value


def test_an_answer_is_counted_with_its_tokens_and_times(server, counted):
    asked = {"endpoint": ROUTE, "model": MODEL, "status": "200"}

    def seen():
        return {
            "requests": counted("sirocco_requests_total", **asked),
            "answers": counted("sirocco_answers_total", model=MODEL, finish_reason="length"),
            "prompt": counted("sirocco_prompt_tokens_total", model=MODEL),
            "output": counted("sirocco_output_tokens_total", model=MODEL),
            "first": counted("sirocco_time_to_first_token_seconds_count", model=MODEL),
            "next": counted("sirocco_time_per_output_token_seconds_count", model=MODEL),
            "whole": counted("sirocco_answer_duration_seconds_count", model=MODEL),
        }

    before = seen()
    usage = server.run({**GREEDY, "max_tokens": 5}).json()["result"]["usage"]
    server.run({**GREEDY, "max_tokens": 1, "stream": True})
    after = seen()

    grown = {name: after[name] - before[name] for name in after}
    n_prompt = usage["prompt_tokens"]
    assert grown == {"requests": 2, "answers": 2, "prompt": 2 * n_prompt, "output": 6,
                     "first": 2, "next": 1, "whole": 2}  # fmt: skip


def test_the_event_loops_lateness_is_counted_all_the_time(counted):
    before = counted("sirocco_event_loop_delay_seconds_count")

    wait_until(lambda: counted("sirocco_event_loop_delay_seconds_count") > before)


def test_prompt_tokens_that_were_cached_are_counted(server, counted):
    prompt = {**GREEDY, "prompt": "query heads share " * 6, "max_tokens": 2}
    server.run(prompt)
    before = counted("sirocco_cached_prompt_tokens_total", model=MODEL)

    told = server.run(prompt).json()["result"]["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert counted("sirocco_cached_prompt_tokens_total", model=MODEL) - before == told > 0


def test_what_is_refused_is_counted_by_route_status_and_error(server, counted):
    def seen():
        return (
            counted("sirocco_requests_total", endpoint=ROUTE, model="", status="400"),
            counted("sirocco_requests_total", endpoint="none", model="", status="400"),
            counted("sirocco_errors_total", error="InvalidInput"),
            counted("sirocco_errors_total", error="UnknownModel"),
        )

    before = seen()
    server.run(b"{")
    server.run(GREEDY, "@cf/no/such-model")
    httpx.get(f"{server.url}/no/such/path")
    after = seen()

    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 1, 1, 1]


def test_what_is_refused_unread_is_counted(server, counted, monkeypatch):
    monkeypatch.setattr(server.app.state.access, "_clock", lambda: 0.0)
    server.run({**GREEDY, "max_tokens": 1})
    monkeypatch.setattr(server.app.state.service, "_is_draining", True)
    before = counted("sirocco_requests_total", endpoint="unread", model="", status="503")

    server.run(GREEDY)

    after = counted("sirocco_requests_total", endpoint="unread", model="", status="503")
    assert after - before == 1


def test_an_engine_tells_its_load(server, counted, gate):
    blocks = server.engine.scheduler.blocks.n_blocks
    gate.open(3)  # before the first event there is no answer
    with httpx.stream("POST", server.path(), json={**GREEDY, "stream": True},
                      headers=server.headers, timeout=60) as answer:  # fmt: skip
        events = answer.iter_bytes()  # without a name it would be closed, and the stream with it
        next(events)
        wait_until(lambda: counted("sirocco_running_sequences", model=MODEL) == 1)
        wait_until(lambda: 0 < counted("sirocco_kv_blocks_used", model=MODEL) < blocks)
        assert counted("sirocco_kv_blocks", model=MODEL) == blocks
        assert counted("sirocco_engine_up", model=MODEL) == 1
        assert counted("sirocco_engine_restarts_total", model=MODEL) == 0
        gate.open(10_000)


def test_every_series_is_documented(server):
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    text = httpx.get(f"{server.url}/metrics", timeout=60).text
    names = {name.removesuffix("_created") for name in re.findall(r"# TYPE (\S+)", text)}

    assert [name for name in names if f"`{name}" not in page] == []
