"""A server that misbehaves becomes an error of the client, never a half answer."""

import json
import socket

import pytest
from tests.client.conftest import ACCOUNT

from sirocco.client import (
    AI,
    AIAuthError,
    AIConnectionError,
    AIError,
    AIInputError,
    AILimitError,
    AIProtocolError,
    AIRefused,
    AIServerError,
    AIStreamError,
    AITimeout,
)
from sirocco.errors import ConfigError, SiroccoError
from sirocco.wire.envelope import gateway_failure, inference_failure, success
from sirocco.wire.sse import DONE, encode

REQUEST_ID = "72ef7198-96cd-45f8-bbf2-16041bea5b80"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def whole(body, status="200 OK", headers=""):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}"
        f"content-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def ask(ai, **inputs):
    return ai.run("@cf/x/y", {"prompt": "x", **inputs})


# --- whole answers ---


def test_a_result_comes_without_its_envelope(client):
    with client(whole(success({"response": "hi"}))) as ai:
        assert ask(ai) == {"response": "hi"}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("400 Bad Request", 5006, AIInputError),
        ("404 Not Found", 7003, AIInputError),
        ("400 Bad Request", 9106, AIAuthError),
        ("401 Unauthorized", 10000, AIAuthError),
        ("429 Too Many Requests", 3036, AILimitError),
        ("503 Service Unavailable", 3040, AILimitError),
        ("408 Request Timeout", 3007, AIServerError),
        ("500 Internal Server Error", 1000, AIServerError),
    ],
)
def test_an_error_answer_has_a_class_by_what_is_to_be_done(client, status, code, kind):
    body = inference_failure(code, "it did not work", REQUEST_ID)
    with client(whole(body, status)) as ai, pytest.raises(kind) as raised:
        ask(ai)

    error = raised.value
    assert type(error) is kind
    assert (error.status, error.code) == (int(status.split()[0]), code)
    assert (error.message, error.request_id) == ("it did not work", REQUEST_ID)
    assert isinstance(error, AIRefused | SiroccoError)


def test_the_request_id_of_a_header_is_taken_too(client):
    answer = whole(gateway_failure(7000, "no"), "400 X", f"cf-ai-req-id: {REQUEST_ID}\r\n")
    with client(answer) as ai, pytest.raises(AIInputError) as raised:
        ask(ai)

    assert raised.value.request_id == REQUEST_ID


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"<html>a proxy</html>", "502 Bad Gateway"),
        whole(b"<html>another server</html>"),
        whole([1, 2]),
        whole(b"[" * 100_000),
        whole({"success": False}),
        whole({"result": {}}),
        whole(b"", "302 Found", "location: http://127.0.0.1:1/\r\n"),
    ],
    ids=["502", "html", "array", "nested", "no-reason", "no-success", "redirect"],
)
def test_an_answer_of_something_else_is_not_taken_for_one(client, answer):
    with client(answer) as ai, pytest.raises(AIProtocolError):
        ask(ai)


def test_nobody_there_is_a_connection_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with AI(f"http://127.0.0.1:{port}", ACCOUNT, "t") as ai, pytest.raises(AIConnectionError):
        ask(ai)


def test_an_answer_that_is_cut_is_a_connection_error(client):
    with client(whole(success({"response": "hi"}))[:-5]) as ai, pytest.raises(AIConnectionError):
        ask(ai)


@pytest.mark.parametrize("begun", [b"", STREAM[:20]], ids=["silent", "half-a-head"])
def test_silence_times_out(client, begun):
    with client(begun, holds_open=True, timeout_s=0.2) as ai, pytest.raises(AITimeout):
        ask(ai)


# --- streams ---


def test_events_come_one_by_one_until_done(client):
    sent = (
        STREAM + encode({"response": "a"}) + b": a comment\n\n" + encode({"response": "b"}) + DONE
    )
    with client(sent) as ai:
        assert list(ask(ai, stream=True)) == [{"response": "a"}, {"response": "b"}]


def test_nothing_is_read_after_done(client):
    with client(STREAM + DONE + b"data: junk\n\n", holds_open=True) as ai:
        assert list(ask(ai, stream=True)) == []


def test_an_error_event_is_raised_after_what_came_before(client):
    failure = inference_failure(5012, "the engine failed", REQUEST_ID)
    with client(STREAM + encode({"response": "a"}) + encode(failure)) as ai:
        events = ask(ai, stream=True)
        assert next(events) == {"response": "a"}
        with pytest.raises(AIStreamError) as raised:
            next(events)

    error = raised.value
    assert (error.code, error.status) == (5012, None)
    assert (error.message, error.request_id) == ("the engine failed", REQUEST_ID)


@pytest.mark.parametrize(
    "tail", [b"", b'data: {"response":', b"data: [DONE]"], ids=["between", "in-an-event", "in-done"]
)
def test_a_stream_without_its_done_is_not_whole(client, tail):
    with client(STREAM + encode({"response": "a"}) + tail) as ai:
        events = ask(ai, stream=True)
        assert next(events) == {"response": "a"}
        with pytest.raises(AIStreamError, match="before the answer was whole"):
            next(events)


def test_a_chunked_stream_that_breaks_is_a_stream_error(client):
    head = STREAM.replace(b"connection: close", b"transfer-encoding: chunked")
    with client(head + b"40\r\ndata: ") as ai, pytest.raises(AIStreamError, match="broke"):
        list(ask(ai, stream=True))


def test_a_stream_that_falls_silent_times_out(client):
    with client(STREAM + encode({"response": "a"}), holds_open=True, timeout_s=0.2) as ai:
        events = ask(ai, stream=True)
        next(events)
        with pytest.raises(AITimeout, match=r"0\.2 s"):
            next(events)


@pytest.mark.parametrize("data", [b"junk", b"[1]", b"{}}", b"[" * 100_000])
def test_an_event_that_is_no_object_is_refused(client, data):
    with client(STREAM + b"data: " + data + b"\n\n") as ai, pytest.raises(AIProtocolError):
        list(ask(ai, stream=True))


def test_an_event_without_end_does_not_fill_the_memory(client):
    endless = STREAM + b"data: " + b"x" * (18 << 20)
    with client(endless) as ai, pytest.raises(AIProtocolError, match="no end"):
        list(ask(ai, stream=True))


def test_a_stream_that_was_asked_for_and_is_none_is_refused(client):
    answer = whole(success({"response": "hi"}))
    with client(answer) as ai, pytest.raises(AIProtocolError, match="a stream was asked for"):
        ask(ai, stream=True)


def test_a_stream_that_was_left_gives_nothing_more(client):
    with client(STREAM + encode({"response": "a"}) + DONE) as ai:
        with ask(ai, stream=True) as events:
            pass

        assert list(events) == []


# --- models ---


def page(*names):
    return whole(success([{"name": name} for name in names]))


def test_models_are_asked_for_until_a_page_is_empty(client):
    with client(page("a", "b"), page("c"), page()) as ai:
        assert [model["name"] for model in ai.models(search="x")] == ["a", "b", "c"]


def test_a_server_that_repeats_its_first_page_is_asked_only_once_more(client):
    with client(page("a"), page("a")) as ai:
        assert [model["name"] for model in ai.models()] == ["a"]


@pytest.mark.parametrize("result", [None, {}, [1]])
def test_a_page_that_is_no_list_of_objects_is_refused(client, result):
    with client(whole(success(result))) as ai, pytest.raises(AIProtocolError):
        ai.models()


# --- address ---


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ftp://x", ACCOUNT, "t"), "base_url must begin with http:// or https://, got 'ftp://x'"),
        (("http://x:port", ACCOUNT, "t"), "base_url cannot be read"),
        ((None, None, "t"), "account_id is missing: pass it, or set SIROCCO_ACCOUNT_ID"),
        ((None, ACCOUNT, None), "api_token is missing: pass it, or set SIROCCO_API_TOKEN"),
        ((None, ACCOUNT, "tö"), "api_token must be printable ASCII"),
        ((None, ACCOUNT, "t\n"), "api_token must be printable ASCII"),
    ],
)
def test_what_is_missing_or_wrong_is_named(monkeypatch, arguments, sentence):
    for name in ("SIROCCO_URL", "SIROCCO_ACCOUNT_ID", "SIROCCO_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ConfigError, match=sentence):
        AI(*arguments)


def test_no_text_of_a_client_tells_its_token():
    ai = AI(account_id=ACCOUNT, api_token="hunter-2")

    assert "hunter-2" not in repr(ai._address)


def test_every_error_is_an_ai_error():
    assert issubclass(AITimeout, AIConnectionError)
    assert all(
        issubclass(kind, AIError)
        for kind in (AIConnectionError, AIRefused, AIStreamError, AIProtocolError)
    )
