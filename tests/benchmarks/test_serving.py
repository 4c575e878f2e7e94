"""The arithmetic of the serving benchmark: a wrong percentile would be believed."""

import contextlib
import importlib
import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
STREAM = (
    b'data: {"response":"G","p":"ma"}\n\n: a comment\n\ndata: {"response":"QA","p":""}\n\n'
    b'data: {"response":"","usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}'
    b"\n\ndata: [DONE]\n\n"
)
PEER_STREAM = (
    b'data: {"id":"x","choices":[{"text":"a","finish_reason":null}]}\n\n'
    b'data: {"id":"x","choices":[{"text":"","finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
)


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Let the benchmarks find each other, as they do where they run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def load():
    return importlib.import_module("_load")


@pytest.fixture
def answers():
    return importlib.import_module("_answers")


def record(load, **known):
    asked = {"who": "me", "body": {"max_tokens": 8}}
    return {**load.new_record(asked, due_s=1.0, sent_s=1.5), "end_s": 4.0, **known}


@pytest.mark.parametrize("n_bytes", [1, 7, 1000])
def test_events_are_read_however_they_are_cut(load, n_bytes):
    of_one = record(load)
    reader = load.EventReader(of_one)

    for at in range(0, len(STREAM), n_bytes):
        reader.feed(STREAM[at : at + n_bytes], now_s=float(at))

    assert len(of_one["event_s"]) == 2
    assert of_one["n_tokens"] == 3
    assert of_one["is_whole"]
    assert of_one["error"] is None


def test_the_peers_events_are_read(load, answers):
    of_one = record(load)

    load.EventReader(of_one).feed(PEER_STREAM, now_s=2.0)

    answer = answers.read_answers([of_one])[0]
    assert answer.is_whole
    assert answer.ttft_s == 1.0
    assert answer.n_output_tokens == 8, "it ended by its length, so it has all tokens"


def test_an_error_inside_a_stream_is_kept(load):
    of_one = record(load)

    load.EventReader(of_one).feed(b'data: {"errors":[{"message":"broken"}]}\n\n', now_s=2.0)

    assert of_one["error"] == "broken"
    assert not of_one["is_whole"]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_values(answers, percent, expected):
    values = list(range(100, 0, -1))

    assert answers.percentile(values, percent) == expected


def test_few_values_have_percentiles_too(answers):
    assert answers.percentile([3.0], 99) == 3.0
    assert answers.percentile([], 50) is None


def test_auc_tells_kinds_apart_or_not(answers):
    assert answers.auc([1, 2], [3, 4]) == 1.0
    assert answers.auc([3, 4], [1, 2]) == 0.0
    assert answers.auc([1, 2, 3], [1, 2, 3]) == 0.5


def test_a_good_answer_is_whole_and_in_time(load, answers):
    whole = record(load, event_s=[1.5, 1.6, 1.7], is_whole=True)
    late, broken = {**whole, "event_s": [2.5, 2.6]}, {**whole, "is_whole": False}
    halting = {**whole, "event_s": [1.5, 2.5]}

    are_good = [a.meets(1.0, 0.2) for a in answers.read_answers([whole, late, broken, halting])]

    assert are_good == [True, False, False, False]


def test_arrivals_have_the_rate_that_was_asked_for():
    workload = importlib.import_module("_workload")

    moments = workload.arrivals(50, 100, random.Random(1))  # noqa: S311 - nothing secret

    assert moments == sorted(moments)
    assert len(moments) == pytest.approx(5000, rel=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_children_of_a_server_are_found():
    server = importlib.import_module("_server")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    try:
        assert child.pid in server.descendants(os.getpid())
    finally:
        child.communicate()


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(STREAM), STREAM)
REFUSAL = b"HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture
def answering():
    """A server that answers by path, `/stream` and `/refusal`, and hangs up on all others."""

    def serve(listening):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    path = connection.recv(65536).split(b" ")[1]
                    connection.sendall({b"/stream": ANSWER, b"/refusal": REFUSAL}.get(path, b""))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("how", ["open_loop", "closed_loop"])
def test_the_crowd_notes_what_became_of_each_request(load, answering, how):
    host, port = answering
    paths = {name: (f"/{name}", port) for name in ("stream", "refusal", "nothing")}
    paths["nobody"] = ("/stream", 9)  # a port that is not ours to listen on
    targets = {
        name: {"host": host, "port": to, "path": path, "headers": {}}
        for name, (path, to) in paths.items()
    }
    requests = [{"who": name, "at_s": 0.01, "body": {"max_tokens": 2}} for name in paths]
    more = {} if how == "open_loop" else {"n_streams": 1, "seconds": 60.0}

    taken = load.counted(getattr(load, how))(
        targets=targets, requests=requests, limit_s=60.0, **more
    )

    stream, refusal, nothing, nobody = taken["records"]
    assert (stream["status"], stream["is_whole"], len(stream["event_s"])) == (200, True, 2)
    assert (refusal["status"], refusal["retry_after"], refusal["error"]) == (429, "7", None)
    assert "the connection was lost" in nothing["error"]
    assert "connection" in nobody["error"]
    assert all(record["end_s"] is not None for record in taken["records"])


def test_the_crowd_cuts_what_is_not_over_in_time(load):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        targets = {"x": {"host": host, "port": port, "path": "/", "headers": {}}}

        taken = load.counted(load.open_loop)(
            targets=targets, requests=[{"who": "x", "at_s": 0.0, "body": None}], limit_s=0.1
        )

    assert taken["records"][0]["error"] == load.TOO_LATE
