"""What a connection may not take is refused in the API's own words, and then it is closed."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import httpx
import pytest
from tests.api.conftest import MODEL, RunningServer
from tests.served import wait_until

GREEDY = {"prompt": "the cat", "max_tokens": 400, "temperature": 0}
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    with serve(
        home, header_timeout_s=0.5, body_timeout_s=0.5, body_bytes_per_s=1000, keep_alive_s=1.5,
        reader_timeout_s=1, max_headers=20,
    ) as running:  # fmt: skip
        yield running


@contextmanager
def connected(server, sent=b"") -> Iterator[socket.socket]:
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        connection.sendall(sent)
        yield connection


def post(server, *headers: str, path: str | None = None) -> bytes:
    """The header of a request to run a model."""
    target = path or httpx.URL(server.path()).raw_path.decode()
    lines = [f"POST {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {server.secret}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def assert_refused(answer: bytes, status: int, code: int, words: str) -> None:
    """One answer, whole, in an envelope, the last one of its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\nconnection: close" in head
    assert b"content-length: %d" % len(body) in head
    told = json.loads(body)
    assert (told["success"], told["errors"][0]["code"]) == (False, code)
    assert words in told["errors"][0]["message"]


def send_all_that_goes(connection: socket.socket, data: bytes) -> None:
    """Send until nobody listens any more."""
    with suppress(OSError):
        connection.sendall(data)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"GET /" + b"a" * 300_000, "65536 bytes"),
        (GET + b"X: " + b"a" * 300_000, "65536 bytes"),
        (GET + b"a" * 300_000, "65536 bytes"),
        (GET + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 9000) for i in range(9)), "65536 bytes"),
        (GET + b"".join(b"X-%d: a\r\n" % i for i in range(30)), "20 headers"),
    ],
    ids=["path", "value", "name", "sum", "number"],
)
def test_a_header_that_is_too_large_is_refused_before_its_end(server, request_, words):
    with connected(server) as connection:
        send_all_that_goes(connection, request_)
        answer = read_to_end(connection)

    assert_refused(answer, 431, 6003, words)


@pytest.mark.parametrize(
    "rest",
    [b"1;" + b"a" * 300_000, b"0\r\nX: " + b"a" * 300_000, b"0\r\n" + b"X: a\r\n" * 30],
    ids=["extension", "trailer", "trailers"],
)
def test_what_stands_around_the_chunks_of_a_body_is_bounded_too(server, rest):
    with connected(server, post(server, "Transfer-Encoding: chunked")) as connection:
        send_all_that_goes(connection, rest)
        answer = read_to_end(connection)

    assert_refused(answer, 431, 6003, "headers")


def test_a_header_within_the_limits_is_read(server):
    with connected(server, GET + b"X: " + b"a" * 65_000 + b"\r\nConnection: close\r\n\r\n") as one:
        assert read_to_end(one).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_however_it_is_cut_a_request_is_the_same(server, size):
    body = json.dumps(GREEDY | {"max_tokens": 1}).encode()
    request = post(server, f"Content-Length: {len(body)}", "Connection: close") + body
    with connected(server) as connection:
        for begin in range(0, len(request), size):
            connection.sendall(request[begin : begin + size])

        assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


def test_a_header_that_does_not_end_in_time_is_refused(server):
    with connected(server, GET) as connection:
        assert_refused(read_to_end(connection), 408, 3007, "the header was not whole after 0.5 s")


def test_a_header_that_comes_in_drops_gains_no_time_by_that(server):
    with connected(server, GET) as connection:
        connection.settimeout(0.1)
        answer = b""
        while not answer:
            send_all_that_goes(connection, b"X: a\r\n")
            with suppress(TimeoutError):
                answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "blank"])
def test_a_connection_without_a_request_is_closed(server, sent):
    with connected(server, sent) as connection:
        assert read_to_end(connection)[:12] in (b"", b"HTTP/1.1 408")


def test_a_connection_that_is_not_used_any_more_is_closed(server):
    with connected(server, GET + b"\r\n") as connection:
        time.sleep(0.8)
        connection.sendall(GET + b"\r\n")

        assert read_to_end(connection).count(b"HTTP/1.1 200 ") == 2


def test_a_body_that_does_not_come_in_time_is_refused(server):
    with connected(server, post(server, "Content-Length: 100") + b"{") as connection:
        assert_refused(read_to_end(connection), 408, 3007, "the body was not whole after 0.5 s")


def test_a_long_body_gets_time_for_what_it_brings(server):
    """Four times the time of a small one, at thrice the speed that is asked for."""
    body = json.dumps(GREEDY | {"max_tokens": 1, "prompt": "a", "x": "y" * 8000}).encode()
    head = post(server, f"Content-Length: {len(body)}", "Connection: close")
    with connected(server, head) as connection:
        for begin in range(0, len(body), 500):
            connection.sendall(body[begin : begin + 500])
            time.sleep(0.15)

        assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_nobody_waits_for_is_not_waited_for(server):
    """It is a stranger's: the answer comes at once, and what follows has to come in time, too."""
    head = post(server, "Content-Length: 100").replace(server.secret.encode(), b"x" * 40)
    with connected(server, head) as connection:
        answer = read_to_end(connection)

    assert answer.startswith(b"HTTP/1.1 401 ")


def test_of_a_body_that_nobody_waits_for_no_more_than_a_megabyte_is_dropped(server):
    head = post(server, "Content-Length: 100000000").replace(server.secret.encode(), b"x" * 40)
    n_sent = 0
    with connected(server, head) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        with suppress(OSError):
            while n_sent < 100_000_000:
                n_sent += connection.send(b"a" * 65536)

    assert n_sent < 20_000_000  # what the system's own buffers take is not ours


def test_a_body_that_is_announced_too_large_is_refused_unread(server):
    with connected(server, post(server, "Content-Length: 8388609")) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("bad", [b"nonsense\r\n\r\n", GET + b"X: " + b"a" * 100_000])
def test_what_came_before_nonsense_is_answered_first(server, bad):
    body = json.dumps(GREEDY | {"max_tokens": 20}).encode()
    good = post(server, f"Content-Length: {len(body)}") + body
    with connected(server, good + GET + b"\r\n") as connection:
        send_all_that_goes(connection, bad)
        first, second, third = read_to_end(connection).split(b"HTTP/1.1 ")[1:]

    assert first.startswith(b"200 ")
    assert b'"response":' in first
    assert second.endswith(b'{"status":"live"}')
    assert third.startswith((b"400 ", b"431 "))


def test_a_chunk_that_is_none_ends_the_request_that_it_was_to_be_part_of(server):
    head = post(server, "Transfer-Encoding: chunked")
    with connected(server, head + b"1\r\n{\r\nnonsense\r\n") as connection:
        assert_refused(read_to_end(connection), 400, 6003, "Invalid request: ")


def test_a_crowd_on_one_connection_is_refused(server):
    with connected(server) as connection:
        send_all_that_goes(connection, (GET + b"\r\n") * 200)
        answers = read_to_end(connection).split(b"HTTP/1.1 ")[1:]

    assert {answer[:3] for answer in answers[:-1]} == {b"200"}
    assert answers[-1].startswith(b"400 ")
    assert b"more than 64 requests" in answers[-1]


def test_a_switch_to_another_protocol_is_not_made(server):
    upgrade = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with connected(server, upgrade) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@contextmanager
def reader_of_nothing(server) -> Iterator[socket.socket]:
    """Ask for a long stream of large events on a connection that takes next to nothing."""
    url = httpx.URL(server.url)
    path = f"/client/v4/accounts/{server.account_id}/ai/v1/chat/completions"
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "the cat"}], "stream": True,
             "max_tokens": 400, "logprobs": True, "top_logprobs": 20,
             "logit_bias": {"2": -100}}  # fmt: skip
    body = json.dumps(asked).encode()
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect((url.host, url.port))
        connection.sendall(post(server, f"Content-Length: {len(body)}", path=path) + body)
        yield connection


def test_a_reader_that_stops_is_cut_off_and_its_answer_ends(server, gate):
    with reader_of_nothing(server) as connection:
        gate.open(150)
        wait_until(lambda: connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        assert server.client.n_live == 1
        gate.open(2)  # of the 250 that it lacks
        wait_until(lambda: server.client.n_live == 0)

    told = httpx.get(f"{server.url}/metrics", timeout=60).text
    assert 'sirocco_connections_cut_total{reason="reader"} 1.0' in told


def test_a_slow_reader_gets_the_whole_answer(server):
    """It takes three times the time in which some of it has to be taken."""
    with reader_of_nothing(server) as connection:
        answer = connection.recv(2000)
        for _ in range(12):
            time.sleep(0.25)
            answer += connection.recv(65536)
        while b"[DONE]" not in answer:
            answer += connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_what_a_connection_is_refused_for_is_counted(server):
    def seen():
        text = httpx.get(f"{server.url}/metrics", timeout=60).text
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
                for line in text.splitlines() if not line.startswith("#")}  # fmt: skip

    before = seen()
    bad = [GET + b"X: " + b"a" * 300_000, b"nonsense\r\n\r\n", GET, b""]
    with ExitStack() as held:
        for sent in bad:
            connection = held.enter_context(connected(server))
            send_all_that_goes(connection, sent)
            read_to_end(connection)
    after = seen()

    grown = {name: after[name] - before.get(name, 0) for name in after}
    for status in (431, 400, 408):
        series = f'sirocco_requests_total{{endpoint="connection",model="",status="{status}"}}'
        assert grown[series] == 1
    for error in ("HeaderTooLarge", "MalformedRequest", "TimedOut"):
        assert grown[f'sirocco_errors_total{{error="{error}"}}'] == 1
    assert grown['sirocco_connections_cut_total{reason="silent"}'] == 1


def test_too_many_connections_are_told_so(serve, tmp_path):
    with serve(tmp_path / "home", max_connections=3) as server, ExitStack() as held:
        for _ in range(3):
            held.enter_context(connected(server))
        with connected(server) as one_more:
            refused = read_to_end(one_more)
        held.close()
        wait_until(lambda: httpx.get(f"{server.url}/health/live").status_code == 200)

    assert_refused(refused, 503, 3040, "There are 3 connections.")
    assert b"retry-after: 1" in refused
