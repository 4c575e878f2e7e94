"""Who would find no room is refused before the request is read; all others are not touched."""

import asyncio
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.conftest import MODEL, Gate, RunningServer
from tests.api.test_run import GREEDY
from tests.served import wait_until

from sirocco.api.shedding import LoadShedding, _named_model
from sirocco.store.limits import Limits
from sirocco.store.scopes import Scope

NOT_JSON = b"{"  # whoever reads it answers 400


@pytest.fixture(autouse=True)
def _no_time_passes(server, monkeypatch):
    """However slow the machine is, an API token that was found good is known."""
    monkeypatch.setattr(server.app.state.access, "_clock", lambda: 0.0)


@contextmanager
def full(server: RunningServer, gate: Gate) -> Iterator[None]:
    """Keep all places of the engine taken by the account; end with all of them answered."""
    with ThreadPoolExecutor(8) as pool:
        flood = [pool.submit(server.run, GREEDY) for _ in range(8)]
        wait_until(lambda: server.client.n_live == 8)
        try:
            yield
        finally:
            gate.open(10_000)
            for answer in flood:
                answer.result()


@pytest.fixture
def other(server):
    """Another account: its id, and the headers of an API token that the server knows."""
    account = server.stores.accounts.create("other")
    secret, _ = server.stores.api_tokens.create(account.id, name="other")
    headers = {"Authorization": f"Bearer {secret}"}
    assert look(server, account.id, headers).status_code == 200
    return account.id, headers


def look(server, account_id, headers):
    """Show an API token without asking for a place."""
    path = f"{server.url}/client/v4/accounts/{account_id}/ai/models/search"
    return httpx.get(path, headers=headers, timeout=60)


def openai_path(server, route):
    return f"{server.url}/client/v4/accounts/{server.account_id}/ai/v1/{route}"


def assert_refused(answer):
    request_id = answer.headers["cf-ai-req-id"]
    text = f"Capacity temporarily exceeded, please try again. ({request_id})"
    assert answer.json() == {
        "errors": [{"message": text, "code": 3040}], "success": False, "result": {}, "messages": [],
    }  # fmt: skip
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/json"
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_a_request_without_room_is_refused_unread(server, gate):
    with full(server, gate):
        assert_refused(server.run(NOT_JSON))


@pytest.mark.parametrize("route", ["chat/completions", "completions", "responses"])
def test_in_openais_shapes_no_more_than_the_model_is_read(server, gate, route):
    body = {"model": MODEL, "temperature": "hot"}
    with full(server, gate):
        answer = httpx.post(openai_path(server, route), json=body, headers=server.headers)

    assert_refused(answer)


def test_a_model_without_a_running_engine_has_room(server, gate):
    with full(server, gate):
        answer = server.run({"prompt": "Hello"}, "@cf/no/such-model")

    assert answer.json()["errors"][0]["code"] == 5007


@pytest.mark.parametrize(
    "body", [b"", NOT_JSON, b"[]", b'{"model": 5}', b'{"model": null}', b'{"model": "\xff"}']
)
def test_a_body_that_names_no_model_is_told_so(server, gate, body):
    with full(server, gate):
        answer = httpx.post(
            openai_path(server, "chat/completions"), content=body, headers=server.headers
        )

    assert answer.status_code == 400


def test_another_account_gets_a_place_while_one_floods(server, gate, other):
    account_id, headers = other
    with full(server, gate), ThreadPoolExecutor(1) as pool:
        newcomer = pool.submit(
            httpx.post, server.path(account_id=account_id), json=GREEDY, headers=headers, timeout=60
        )
        wait_until(lambda: server.client._admission._n_live[account_id] == 1)
        assert_refused(server.run(NOT_JSON))
        gate.open(10_000)

    assert newcomer.result().status_code == 200


def test_strangers_learn_nothing(server, gate, other):
    account_id, headers = other
    with full(server, gate):
        unknown = server.run(GREEDY, headers={"Authorization": f"Bearer {'x' * 40}"})
        none = httpx.post(server.path(), json=GREEDY)
        foreign = httpx.post(server.path(), json=GREEDY, headers=headers)

    assert [answer.status_code for answer in (unknown, none, foreign)] == [401, 400, 401]
    assert account_id != server.account_id


def test_an_api_token_that_was_not_shown_lately_goes_the_ordinary_way(server, gate, monkeypatch):
    with full(server, gate):
        monkeypatch.setattr(server.app.state.access, "_clock", lambda: 1e9)
        assert server.run(NOT_JSON).status_code == 400
        assert_refused(server.run(NOT_JSON))


def test_an_api_token_that_may_only_look_is_told_so(server, gate):
    secret, _ = server.stores.api_tokens.create(
        server.account_id, name="reader", scopes=[Scope.READ]
    )
    headers = {"Authorization": f"Bearer {secret}"}
    with full(server, gate):
        assert look(server, server.account_id, headers).status_code == 200
        assert server.run(GREEDY, headers=headers).status_code == 403


def test_requests_that_are_being_read_count_for_their_account(server, gate, other):
    """One place is free, and its request is slow to come: the next one is refused, not read."""
    with ThreadPoolExecutor(7) as pool:
        flood = [pool.submit(server.run, GREEDY) for _ in range(7)]
        wait_until(lambda: server.client.n_live == 7)
        body = json.dumps(GREEDY).encode()
        with raw(server, body, sent=body[:5]) as slow:
            wait_until(lambda: server.client._admission._expected)
            assert_refused(server.run(NOT_JSON))
            slow.sendall(body[5:])
            gate.open(10_000)
            assert slow.recv(1000).startswith(b"HTTP/1.1 200 OK")
        assert {answer.result().status_code for answer in flood} == {200}

    assert not server.client._admission._expected


def test_a_request_that_was_no_good_is_not_expected_any_more(server):
    for _ in range(9):
        assert server.run(NOT_JSON).status_code == 400

    assert server.run(GREEDY).status_code == 200
    assert not server.client._admission._expected


def test_a_body_that_is_nested_too_deeply_is_no_fault_of_ours(server):
    body = b'{"prompt": ' + b"[" * 40_000
    url = f"{server.url}/client/v4/accounts/{server.account_id}/ai/v1/completions"

    refused = httpx.post(url, content=body, headers=server.headers)

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, 5006)


def test_a_minute_that_is_full_is_told_before_the_request_is_read(server):
    account = server.stores.accounts.create("slow")
    server.stores.accounts.set_limits(account.id, Limits(per_minute=1))
    secret, _ = server.stores.api_tokens.create(account.id, name="slow")
    headers = {"Authorization": f"Bearer {secret}"}

    answers = [
        httpx.post(server.path(account_id=account.id), content=body, headers=headers, timeout=60)
        for body in (json.dumps(GREEDY), NOT_JSON, NOT_JSON)
    ]

    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert answers[1].json()["errors"][0]["code"] == 3021
    assert 1 <= int(answers[1].headers["retry-after"]) <= 60


def test_while_the_server_shuts_down_nothing_is_read(server, monkeypatch):
    look(server, server.account_id, server.headers)
    monkeypatch.setattr(server.app.state.service, "_is_draining", True)

    answer = server.run(NOT_JSON)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, 3040)
    assert answer.headers["retry-after"] == "1"


@contextmanager
def raw(server, body, *, sent=None, headers=()) -> Iterator[socket.socket]:
    """A connection on which a request was written, its body as far as it is to be sent."""
    url = httpx.URL(server.path())
    lines = [
        f"POST {url.raw_path.decode()} HTTP/1.1", f"Host: {url.host}",
        f"Authorization: Bearer {server.secret}", *(headers or [f"Content-Length: {len(body)}"]),
    ]  # fmt: skip
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        connection.sendall(body if sent is None else sent)
        yield connection


def answers_of(connection: socket.socket, n: int) -> list[bytes]:
    """Read until `n` answers are whole; each ends with its envelope."""
    data = b""
    while data.count(b'"messages":[]}') < n:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data.split(b"HTTP/1.1 ")[1:]


def test_a_refused_connection_goes_on(server, gate):
    with full(server, gate), raw(server, NOT_JSON) as connection:
        (first,) = answers_of(connection, 1)
        again = f"GET {httpx.URL(server.path()).raw_path.decode()} HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(again.encode())
        (second,) = answers_of(connection, 1)

    assert first.startswith(b"429 ")
    assert second.startswith(b"405 ")


def test_a_body_that_comes_after_its_refusal_is_not_taken_for_a_request(server, gate):
    body = b"GET /health/live HTTP/1.1\r\n\r\n"
    with full(server, gate), raw(server, body, sent=b"") as connection:
        (first,) = answers_of(connection, 1)
        connection.sendall(body + b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
        (second,) = answers_of(connection, 1)

    assert first.startswith(b"429 ")
    assert second.startswith(b"400 ")


def test_requests_that_follow_each_other_without_waiting_are_answered_in_turn(server, gate):
    with full(server, gate), raw(server, NOT_JSON, sent=b"") as connection:
        url = httpx.URL(server.path())
        head = f"POST {url.raw_path.decode()} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        good, bad = f"Authorization: Bearer {server.secret}\r\n", "Authorization: Bearer x\r\n"
        rest = f"{head}{bad}\r\n{{{head}{good}\r\n{{"
        connection.sendall(NOT_JSON + rest.encode())
        statuses = [answer[:3] for answer in answers_of(connection, 3)]

    assert statuses == [b"429", b"400", b"429"]


@pytest.mark.parametrize(
    "headers", [["Content-Length: 8000000"], ["Transfer-Encoding: chunked"]], ids=["long", "chunks"]
)
def test_a_long_body_is_not_read_to_its_end(server, gate, headers):
    """The answer comes at once; what follows is dropped for a moment, then nobody listens."""
    with (
        full(server, gate),
        raw(server, b"", sent=b"8000\r\n" + b"x" * 32768, headers=headers) as connection,
    ):
        (answer,) = answers_of(connection, 1)
        end = connection.recv(1)  # within a second, or two on a busy machine

    assert answer.startswith(b"429 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert end == b""


def test_who_sends_all_of_a_long_body_still_reads_the_answer(server, gate):
    with full(server, gate), raw(server, b"x" * 900_000) as connection:
        (answer,) = answers_of(connection, 1)
        end = connection.recv(1)

    assert answer.startswith(b"429 ")
    assert end == b""


def test_nobody_is_asked_to_send_a_body_that_will_not_be_read(server, gate):
    headers = ["Content-Length: 5", "Expect: 100-continue"]
    with full(server, gate), raw(server, b"", headers=headers) as connection:
        (answer,) = answers_of(connection, 1)

    assert answer.startswith(b"429 ")


@given(pieces=st.lists(st.binary(max_size=8), min_size=1, max_size=6))
def test_a_body_that_was_looked_at_is_whole_for_those_behind(pieces):
    """However it is cut, and whatever is in it."""
    last = len(pieces) - 1
    messages = [
        {"type": "http.request", "body": piece, "more_body": i < last}
        for i, piece in enumerate(pieces)
    ]
    coming = iter([*messages, {"type": "http.disconnect"}])

    async def receive():
        return next(coming)

    async def look_and_read():
        _, again = await _named_model(receive)
        return [await again() for _ in range(len(pieces) + 1)]

    assert asyncio.run(look_and_read()) == [*messages, {"type": "http.disconnect"}]


def test_no_more_than_a_quarter_of_a_megabyte_is_looked_at():
    taken = []

    async def receive():
        taken.append(65536)
        return {"type": "http.request", "body": b" " * 65536, "more_body": True}

    model_id, _ = asyncio.run(_named_model(receive))

    assert model_id is None
    assert sum(taken) <= 256 * 1024 + 65536


def test_a_client_that_leaves_while_it_is_looked_at_is_left_to_others():
    async def receive():
        return {"type": "http.disconnect"}

    async def look_and_read():
        model_id, again = await _named_model(receive)
        return model_id, await again()

    assert asyncio.run(look_and_read()) == (None, {"type": "http.disconnect"})


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_what_is_no_request_passes(kind):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    async def nothing(*_message):
        raise AssertionError("nobody is to be asked or told anything")

    asyncio.run(LoadShedding(app)({"type": kind}, nothing, nothing))

    assert seen == [kind]
