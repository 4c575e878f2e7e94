"""While the database cannot answer: 503 and later, streams go on, nothing is unbilled (row 25)."""

import contextlib
import sqlite3
from functools import partial

import httpx
import pytest
from sqlalchemy import event
from tests.api.test_auth import ask_every_route
from tests.postgresql import running_postgresql
from tests.served import wait_until as wait_for

from sirocco.errors import DatabaseAway
from sirocco.wire.sse import Decoder

LONG = {"prompt": "the cat", "max_tokens": 450, "temperature": 0}


@contextlib.contextmanager
def failing(database, code, *, writes_alone=False):
    """Let every statement of a database fail, as SQLite does for this reason."""

    def fail(_cursor, statement, _parameters, _context):
        if not writes_alone or statement.startswith(("INSERT", "UPDATE", "DELETE")):
            error = sqlite3.OperationalError("made up")
            error.sqlite_errorcode = code
            raise error

    event.listen(database._engine, "do_execute", fail)
    try:
        yield
    finally:
        event.remove(database._engine, "do_execute", fail)


@contextlib.contextmanager
def full_disk(database, monkeypatch):
    """Let neither the database nor the spool have another byte."""

    def no_space(_descriptor, _line):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("sirocco.store.spool.os.write", no_space)
        with failing(database, sqlite3.SQLITE_FULL, writes_alone=True):
            yield


wait_until = partial(wait_for, timeout_s=30.0)


def request_ids(server):
    return [row.request_id for row in server.stores.usage.of_account(server.account_id)]


def require_away(response):
    assert response.status_code == 503, response.text
    assert int(response.headers["retry-after"]) >= 1
    (error,) = response.json()["errors"]
    assert (error["code"], response.json()["success"]) == (3040, False)
    assert "made up" not in response.text


@contextlib.contextmanager
def stream(server):
    """A stream that has begun; gives what is left of it."""
    body = {**LONG, "stream": True}
    with httpx.stream(
        "POST", server.path(), json=body, headers=server.headers, timeout=60
    ) as answer:
        chunks = answer.iter_bytes()
        first = next(chunks)
        yield answer.headers["cf-ai-req-id"], lambda: Decoder().feed(first + b"".join(chunks))


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN]
)
def test_every_route_says_503_and_when_to_come_again(server, code):
    with failing(server.stores.database, code):
        for _path, response in ask_every_route(server, server.headers):
            require_away(response)

    assert server.run({"prompt": "x", "max_tokens": 1}).status_code == 200


def test_a_statement_that_is_wrong_is_a_fault_of_ours_and_no_reason_to_wait(server):
    with failing(server.stores.database, sqlite3.SQLITE_ERROR):
        response = server.run({"prompt": "x"})

    assert (response.status_code, response.json()["errors"][0]["code"]) == (500, 1000)


def test_a_stream_goes_on_without_the_database_and_is_counted_when_it_is_back(server):
    with stream(server) as (request_id, rest):
        with failing(server.stores.database, sqlite3.SQLITE_IOERR):
            assert rest()[-1] == "[DONE]"
            require_away(server.run({"prompt": "x"}))
        wait_until(lambda: request_id in request_ids(server))

    assert request_ids(server).count(request_id) == 1


def test_a_database_that_another_program_writes_keeps_answers_from_nobody(
    serve, tmp_path, monkeypatch
):
    monkeypatch.setattr("sirocco.store.sqlite._BUSY_TIMEOUT_MS", 50)
    with serve(tmp_path) as server:
        assert server.run({"prompt": "x", "max_tokens": 1}).status_code == 200
        wait_until(lambda: len(request_ids(server)) == 1)
        other = sqlite3.connect(tmp_path / "sirocco.db", isolation_level=None)
        with contextlib.closing(other):
            other.execute("BEGIN IMMEDIATE")
            assert server.run({"prompt": "x", "max_tokens": 1}).status_code == 200
            batch = {"requests": [{"prompt": "x", "max_tokens": 1}]}
            require_away(server.run(batch, params={"queueRequest": "true"}))
            other.execute("ROLLBACK")
        wait_until(lambda: len(request_ids(server)) == 2)


def test_with_a_full_disk_live_answers_end_new_ones_are_refused_and_all_are_counted(
    serve, tmp_path, monkeypatch
):
    with serve(tmp_path) as server:
        server.run({"prompt": "x", "max_tokens": 1})
        with stream(server) as (request_id, rest):
            with full_disk(server.stores.database, monkeypatch):
                assert rest()[-1] == "[DONE]"  # its usage is in memory alone
                require_away(server.run({"prompt": "x"}))
                faults = httpx.get(f"{server.url}/health/ready", timeout=60).json()["faults"]
                assert faults == ["usage cannot be written down"]
                listed = httpx.get(
                    server.path("").replace("/ai/run/", "/ai/usage"), headers=server.headers
                )
                assert listed.status_code == 200  # reading works
            wait_until(lambda: request_id in request_ids(server))

        wait_until(lambda: server.run({"prompt": "x", "max_tokens": 1}).status_code == 200)


@pytest.mark.timeout(300)
def test_postgresql_may_stop_and_come_back_under_a_stream(serve, tmp_path):
    with (
        running_postgresql() as postgresql,
        serve(tmp_path, database_url=postgresql.url("postgres")) as server,
    ):
        assert server.run({"prompt": "x", "max_tokens": 1}).status_code == 200
        with stream(server) as (request_id, rest):
            postgresql.stop("immediate")
            for _path, response in ask_every_route(server, server.headers):
                require_away(response)
            assert rest()[-1] == "[DONE]"
            postgresql.start()
        wait_until(lambda: request_id in request_ids(server))

        assert server.run({"prompt": "x", "max_tokens": 1}).status_code == 200
        assert request_ids(server).count(request_id) == 1


def test_what_is_known_of_a_database_that_is_away_is_for_the_log(server):
    with (
        failing(server.stores.database, sqlite3.SQLITE_IOERR),
        pytest.raises(DatabaseAway, match="made up"),
    ):
        server.stores.database.ping()
