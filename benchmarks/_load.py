"""A crowd of clients in a process of its own: raw sockets, and no more work than is needed.

The benchmark asks it in lines of JSON (`_child.Child`). Every request has a connection of its
own. A request is {"at_s", "who", "body"}; `who` names its target, an address with the headers to
send, and a body of null makes it a GET. Its record says when each event came, in seconds since
the call began. Requests that are not over at `limit_s` are cut, so every call ends.
"""

import asyncio
import errno
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httptools
from _child import answer

Record = dict[str, Any]

SEPARATOR = b"\n\n"
TOO_LATE = "cut by the benchmark, which waits no longer"
PIECE, EMPTY_PIECE = b'{"response":"', b'{"response":""'
"""How an event with text begins, and the one with the counts. They are told apart by their first
bytes, because to parse every event would cost more than all the rest."""


class EventReader:
    """Server-sent events of one answer, written into its record."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._rest = b""

    def feed(self, data: bytes, now_s: float) -> None:
        """Take bytes as they come, cut anywhere."""
        *events, self._rest = (self._rest + data).split(SEPARATOR)
        for event in events:
            if event.startswith(b"data: "):  # and not a comment that keeps the connection alive
                self._note(event.removeprefix(b"data: "), now_s)

    def _note(self, event: bytes, now_s: float) -> None:
        record = self._record
        if event.startswith(PIECE) and not event.startswith(EMPTY_PIECE):
            record["event_s"].append(now_s)
        elif event == b"[DONE]":
            record["is_whole"] = True
        else:
            self._note_parsed(json.loads(event), now_s)

    def _note_parsed(self, event: dict[str, Any], now_s: float) -> None:
        record = self._record
        for choice in event.get("choices", []):  # llama.cpp's server
            if choice["text"]:
                record["event_s"].append(now_s)
            record["finish_reason"] = choice["finish_reason"]
        if event.get("usage"):
            record["n_tokens"] = event["usage"]["completion_tokens"]
        if event.get("errors"):
            record["error"] = event["errors"][0]["message"]


class Exchange:
    """One request and its answer. httptools calls the methods that begin with `on_`.

    It reads and writes its socket itself, and no task waits for it: with asyncio's transports a
    refused request takes three times as long, and the crowd has to be cheaper than the server.
    """

    def __init__(self, record: Record, payload: bytes, began_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._record, self._unsent, self._began_s = record, payload, began_s
        self._parser = httptools.HttpResponseParser(self)
        self._events: EventReader | None = None
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._now_s = 0.0

    def begin(self, address: tuple[str, int]) -> None:
        """Connect, and send the request whole."""
        status = self._socket.connect_ex(address)
        if status not in (0, errno.EINPROGRESS):
            self._end(f"no connection: {os.strerror(status)}")
            return
        self._loop.add_reader(self._socket, self._read)
        self._write()

    def _write(self) -> None:
        """Send what is left; the rest, or all of it, when there is a connection with room."""
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(f"no connection: {error}")
            return
        if self._unsent:
            self._loop.add_writer(self._socket, self._write)
        else:
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        """Read the clock before anything else."""
        self._now_s = time.perf_counter() - self._began_s
        try:
            data = self._socket.recv(256 * 1024)
            if not data:
                raise ConnectionError("the other side closed it")
            self._parser.feed_data(data)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(f"the connection was lost: {error}")
        except (httptools.HttpParserError, ValueError) as error:
            self._end(f"not an answer: {error}")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one that refusals must have."""
        if name.lower() == b"retry-after":
            self._record["retry_after"] = value.decode()

    def on_headers_complete(self) -> None:
        """Read events if a stream begins."""
        self._record["status"] = self._parser.get_status_code()
        if self._record["status"] == 200:
            self._events = EventReader(self._record)

    def on_body(self, body: bytes) -> None:
        """Pass events on."""
        if self._events is not None:
            self._events.feed(body, self._now_s)

    def on_message_complete(self) -> None:
        """Close the connection: the next request has its own."""
        self._end(None)

    def cut(self, reason: str) -> None:
        """Reset the connection, as a client that is killed does."""
        self._end(reason)

    def _end(self, error: str | None) -> None:
        if self.over.done():
            return
        self._record["end_s"] = time.perf_counter() - self._began_s
        self._record["error"] = self._record["error"] or error
        self.over.set_result(None)
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and what proves who sends them."""

    host: str
    port: int
    path: str
    headers: dict[str, str]

    def payload(self, body: dict[str, Any] | None) -> bytes:
        """Write a request out."""
        data = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{'GET' if body is None else 'POST'} {self.path} HTTP/1.1",
            f"host: {self.host}:{self.port}", f"content-length: {len(data)}",
            "content-type: application/json",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]  # fmt: skip
        return "\r\n".join([*lines, "", ""]).encode() + data


class Crowd:
    """All requests of one call."""

    def __init__(self, targets: dict[str, dict[str, Any]]) -> None:
        self.targets = {name: Target(**target) for name, target in targets.items()}
        self.records: list[Record] = []
        self.live: set[Exchange] = set()
        self.began_s = time.perf_counter()
        self.is_over = False

    @property
    def now_s(self) -> float:
        """Seconds since the call began."""
        return time.perf_counter() - self.began_s

    def send(self, request: dict[str, Any], *, at_s: float | None = None) -> asyncio.Future[None]:
        """Send one request, due at `at_s` or now; what it returns is done when it is over."""
        target = self.targets[request["who"]]
        payload = target.payload(request["body"])
        sent_s = self.now_s
        record = new_record(request, sent_s if at_s is None else at_s, sent_s)
        self.records.append(record)
        exchange = Exchange(record, payload, self.began_s)
        self.live.add(exchange)
        exchange.over.add_done_callback(lambda _over: self.live.discard(exchange))
        if self.is_over:
            exchange.cut(TOO_LATE)
        else:
            exchange.begin((target.host, target.port))
        return exchange.over

    def cut(self, reason: str) -> None:
        """End all that is live."""
        for exchange in list(self.live):
            exchange.cut(reason)

    @asynccontextmanager
    async def limited(self, limit_s: float) -> AsyncIterator[None]:
        """Cut what is live after `limit_s`."""
        timer = asyncio.get_running_loop().call_later(limit_s, self._end)
        try:
            yield
        finally:
            timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        self.cut(TOO_LATE)


def new_record(request: dict[str, Any], due_s: float, sent_s: float) -> Record:
    """Make what is known of a request before its answer."""
    return {
        "who": request["who"], "due_s": due_s, "sent_s": sent_s, "end_s": None, "status": None,
        "retry_after": None, "event_s": [], "n_tokens": None, "finish_reason": None,
        "max_tokens": (request["body"] or {}).get("max_tokens"), "is_whole": False, "error": None,
    }  # fmt: skip


async def open_loop(
    targets: dict[str, Any], requests: Sequence[dict[str, Any]], limit_s: float
) -> list[Record]:
    """Send each request when it is due, whatever has become of those before."""
    crowd = Crowd(targets)
    async with crowd.limited(limit_s):
        sent = []
        for request in requests:
            await asyncio.sleep(request["at_s"] - crowd.now_s)
            sent.append(crowd.send(request, at_s=request["at_s"]))
        await asyncio.gather(*sent)
    return crowd.records


async def closed_loop(
    targets: dict[str, Any], requests: Sequence[dict[str, Any]], n_streams: int, seconds: float,
    limit_s: float,
) -> list[Record]:  # fmt: skip
    """Keep `n_streams` answers live: when one ends, the next begins, until `seconds` are over."""
    crowd = Crowd(targets)
    coming = iter(requests)

    async def stream(coming: Iterator[dict[str, Any]]) -> None:
        for request in coming:
            await crowd.send(request)
            if crowd.now_s >= seconds:
                return

    async with crowd.limited(limit_s), asyncio.TaskGroup() as group:
        for _ in range(n_streams):
            group.create_task(stream(coming))
    return crowd.records


async def leave_all(
    targets: dict[str, Any], requests: Sequence[dict[str, Any]], after_s: float,
    then: Sequence[dict[str, Any]], limit_s: float,
) -> list[Record]:  # fmt: skip
    """Send all at once, reset all after `after_s`, and send what is `then` one by one."""
    crowd = Crowd(targets)
    async with crowd.limited(limit_s):
        sent = [crowd.send(request) for request in requests]
        await asyncio.sleep(after_s)
        crowd.cut("the client left")
        await asyncio.gather(*sent)
        for request in then:
            await crowd.send(request)
    return crowd.records


def counted(work: Callable[..., Coroutine[None, None, list[Record]]]) -> Callable[..., Any]:
    """Run a call, and add what the crowd itself took of the processors."""

    def call(**arguments: Any) -> dict[str, Any]:
        cpu, began = time.process_time(), time.perf_counter()
        records = asyncio.run(work(**arguments))
        seconds = time.perf_counter() - began
        return {"records": records, "cpu_s": time.process_time() - cpu, "seconds": seconds}

    return call


if __name__ == "__main__":
    answer({work.__name__: counted(work) for work in (open_loop, closed_loop, leave_all)})
