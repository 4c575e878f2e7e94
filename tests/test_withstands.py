"""A real server against clients that mean harm: it holds little for them, and serves the others.

Numbers are small here; `--nightly` has those of the scorecard, which docs/log.md tells of.
"""

import re
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest
from tests.grammar_bombs import SCHEMAS
from tests.served import Served, wait_until

MIB = 1024 * 1024

_LATE = ("0.01", "0.025", "0.05", "0.1", "0.25")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home") / "sirocco"
    server = Served(home, log_format="json", header_timeout_s=8, reader_timeout_s=4,
                    max_waiting=1000)  # fmt: skip
    try:
        assert server.run(max_tokens=2).status_code == 200
        yield server
    finally:
        server.stop()


def rss_mib(served: Served) -> float:
    status = Path(f"/proc/{served.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def address(served: Served) -> tuple[str, int]:
    url = httpx.URL(served.url)
    assert url.port is not None
    return url.host, url.port


def head(served: Served, *headers: str) -> bytes:
    target = httpx.URL(served.path).raw_path.decode()
    lines = [f"POST {target} HTTP/1.1", "Host: x", *headers]
    lines += [f"{name}: {value}" for name, value in served.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def status_of(served: Served, *pieces: bytes, times: int = 1) -> int:
    """Send pieces, the last of them many times, for as long as somebody reads."""
    with socket.create_connection(address(served), timeout=60) as connection:
        connection.setblocking(False)
        answer = b""
        for piece in [*pieces, *[pieces[-1]] * (times - 1)]:
            view = memoryview(piece)
            while view and not answer:
                readable, writable, _ = select.select([connection], [connection], [], 60)
                if readable:
                    answer = connection.recv(65536)
                elif writable:
                    view = view[connection.send(view) :]
        connection.setblocking(True)
        answer = answer or connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 "), answer
        return int(answer[9:12])


@contextmanager
def many_open_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def bombs(served: Served) -> Iterator[tuple[str, int, int]]:
    """Name each bomb, and tell what it is answered and what it should be."""
    get = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
    yield "header", status_of(served, get + b"X: ", b"a" * MIB, times=50), 431
    yield "path", status_of(served, b"GET /", b"a" * MIB, times=50), 431
    yield "headers", status_of(served, get, b"X-A: b\r\n" * 10_000, times=10), 431
    long = head(served, "Content-Length: 209715200")
    yield "body", status_of(served, long, b" " * MIB, times=200), 413
    chunked = head(served, "Transfer-Encoding: chunked")
    yield "chunks", status_of(served, chunked, b"100000\r\n" + b" " * MIB + b"\r\n", times=200), 413
    yield "extension", status_of(served, chunked + b"1;", b"a" * MIB, times=50), 431
    for name, body in {
        "lists": b'{"prompt": [' + b"[]," * 2_700_000 + b"0]}",
        "depth": b'{"prompt": ' + b"[" * 200_000,
        "members": b"{" + b",".join(b'"%d":1' % i for i in range(700_000)) + b"}",
        "digits": b'{"seed": ' + b"9" * 8_000_000 + b"}",
        "escapes": b'{"prompt": "' + b',\\"' * 2_700_000 + b'"}',
    }.items():
        expected = 413 if name == "escapes" else 400
        answer = httpx.post(served.path, content=body, headers=served.headers, timeout=60)
        yield name, answer.status_code, expected


def say(figures: str) -> None:
    """Tell what was measured, to whoever runs pytest with -s."""
    print(f"\n{figures}")  # noqa: T201 - they are what a night is for


@pytest.mark.slow
def test_bombs_are_refused_and_leave_nothing_behind(served, is_nightly):
    n = 20 if is_nightly else 5
    # What was freed goes back to the system now and then, 30 MiB of it at a time: most counts.
    answered: list[tuple[str, int, int]] = []
    most = []
    for _ in ("what is made once", "what grows"):
        rss = []
        for _ in range(n):
            answered += bombs(served)
            rss.append(rss_mib(served))
        most.append(max(rss))
    before, after = most
    say(f"after bombs: RSS {before:.1f} MiB, grown by {after - before:.1f} MiB")

    assert [one for one in answered if one[1] != one[2]] == []
    assert after - before <= 20


def one_token_s(served: Served) -> float:
    began_s = time.monotonic()
    assert served.run(max_tokens=1).status_code == 200
    return time.monotonic() - began_s


@pytest.mark.slow
def test_connections_whose_headers_do_not_end_are_closed(served, is_nightly):
    n = 2000 if is_nightly else 200
    alone_s = [one_token_s(served) for _ in range(20)]
    with many_open_files(), ExitStack() as held:
        slow = [held.enter_context(socket.create_connection(address(served))) for _ in range(n)]
        for connection in slow:
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        began_s = time.monotonic()
        beside_s = []
        while time.monotonic() - began_s < 6:
            beside_s.append(one_token_s(served))
        answers = [read_to_end(connection) for connection in slow]
        closed_s = time.monotonic() - began_s
    say(
        f"{n} slow headers: closed after {closed_s:.1f} s; neighbours"
        f" {median(beside_s) * 1e3:.1f} ms, alone {median(alone_s) * 1e3:.1f} ms"
    )

    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)


def read_to_end(connection: socket.socket) -> bytes:
    connection.settimeout(60)
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


@pytest.mark.slow
def test_readers_that_stop_are_cut_off_and_hold_little(served, is_nightly):
    """What becomes of an answer that an engine is still making: tests/api/test_connection.py."""
    n = 500 if is_nightly else 50
    page = httpx.get(f"{served.url}/docs").text
    script = re.search(r'src="([^"]+\.js)"', page)
    assert script
    # Larger than what the systems at both ends keep for a connection.
    assert int(httpx.get(f"{served.url}{script[1]}").headers["content-length"]) > MIB
    request = f"GET {script[1]} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    before = rss_mib(served)
    with many_open_files(), ExitStack() as held:
        stalled = []
        for _ in range(n):
            connection = held.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(address(served))
            connection.sendall(request)
            stalled.append(connection)
        began_s, most = time.monotonic(), before

        def all_cut() -> bool:
            nonlocal most
            most = max(most, rss_mib(served))
            # An error is told once.
            cut = [c for c in stalled if c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]
            for connection in cut:
                stalled.remove(connection)
            return not stalled

        wait_until(all_cut, 100)
        cut_s = time.monotonic() - began_s
    say(
        f"{n} stalled readers: all cut off after {cut_s:.1f} s; RSS {before:.1f} MiB, at most"
        f" {most - before:.1f} MiB more, {(most - before) * 1024 / n:.0f} KiB each"
    )
    # For each its buffer, a piece of the file and its request; 20 MiB are made once, and stay.
    assert most - before <= 20 + n * 128 / 1024


class Neighbour(threading.Thread):
    """Notes how long it waits for each of what it asks for. Attributes: waits_s."""

    def __init__(self, waits: Iterator[float]) -> None:
        super().__init__()
        self._waits, self._over = waits, threading.Event()
        self.waits_s: list[float] = []

    def run(self) -> None:
        for wait_s in self._waits:
            self.waits_s.append(wait_s)
            if self._over.is_set():
                return

    def told(self) -> str:
        """What it waited since it was last asked."""
        waits_s, self.waits_s = self.waits_s, []
        return f"{median(waits_s) * 1e3:.1f} ms (median), {max(waits_s) * 1e3:.0f} ms (longest)"

    def end(self) -> None:
        """Let it ask no more."""
        self._over.set()
        self.join()


def health_of(served: Served) -> Iterator[float]:
    """Times of answers that need the event loop alone."""
    with httpx.Client(timeout=60) as client:
        while True:
            began_s = time.monotonic()
            assert client.get(f"{served.url}/health/live").status_code == 200
            yield time.monotonic() - began_s
            time.sleep(0.005)


def gaps_of(served: Served) -> Iterator[float]:
    """Times between the events of one stream after the other."""
    while True:
        with served.stream(max_tokens=700) as chunks:
            next(chunks)
            last_s = time.monotonic()
            for _ in chunks:
                now_s = time.monotonic()
                yield now_s - last_s
                last_s = now_s


def loop_told(served: Served) -> str:
    """How often since its start the server's own event loop was late, as it counts itself."""
    text = httpx.get(f"{served.url}/metrics", timeout=60).text
    late = dict(re.findall(r'sirocco_event_loop_delay_seconds_bucket\{le="(.+?)"\} (\S+)', text))
    n_ticks = float(late["+Inf"])
    over = (f"{n_ticks - float(late[s]):.0f} over {float(s) * 1e3:.0f} ms" for s in _LATE)
    return f"late with {', '.join(over)} of {n_ticks:.0f} callbacks"


def as_fields(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Put a schema wherever a request may have one."""
    yield {"guided_json": schema}
    yield {"response_format": {"type": "json_schema", "json_schema": schema}}
    yield {"tools": [{"name": "x", "parameters": schema}], "tool_choice": "x"}


@pytest.mark.slow
def test_grammar_bombs_end_a_child_at_most(served):
    """Each is refused by the name of its field, or answered as far as `max_tokens` goes."""
    engine_pid = served.engine_pid
    health, stream = Neighbour(health_of(served)), Neighbour(gaps_of(served))
    health.start()
    stream.start()
    time.sleep(3)
    before = health.told(), stream.told(), loop_told(served)
    took_s: dict[str, float] = {}
    statuses = {}
    with httpx.Client(headers=served.headers, timeout=60) as client:
        for name, schema in SCHEMAS.items():
            for fields in as_fields(schema):
                began_s = time.monotonic()
                body = {"prompt": "x", "max_tokens": 4, "seed": 1, **fields}
                answer = client.post(served.path, json=body)
                case = f"{name} as {next(iter(fields))}"
                took_s[case] = time.monotonic() - began_s
                statuses[case] = answer.status_code, answer.json()["errors"]
    beside = health.told(), stream.told(), loop_told(served)
    health.end()
    stream.end()
    worst = max(took_s, key=lambda case: took_s[case])
    n_killed = len(served.logged("a grammar was too much for its child"))
    say(
        f"{len(statuses)} grammar bombs, {n_killed} children killed: answered after"
        f" {median(took_s.values()) * 1e3:.0f} ms (median), {took_s[worst] * 1e3:.0f} ms"
        f" (longest: {worst});\nhealth {beside[0]}, before them {before[0]};"
        f"\ngaps of a stream {beside[1]}, before them {before[1]}"
        f"\nevent loop at the end: {beside[2]}; before them {before[2]}"
    )

    codes = {errors[0]["code"] for status, errors in statuses.values() if status != 200}
    assert {status for status, _ in statuses.values()} <= {200, 400, 413}, statuses
    assert codes <= {5006, 5021, 5024}  # refused, too long a prompt, or cut off by max_tokens
    assert served.engine_pid == engine_pid
    assert served.lines("error", "critical") == []
    assert served.run(max_tokens=1).status_code == 200
