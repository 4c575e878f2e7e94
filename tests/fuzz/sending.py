"""Sends made requests over connections of its own, and judges what comes back."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httptools
from tests.fuzz.making import Made, Maker

ANSWER_S = 60.0
CODES_OF_503 = {3040}
_NO_HTTP = b"Invalid HTTP request received."
_OF_RIGHT = (400, 404, 405, 413, 429)
"""A right request may be refused: no model embeds, a batch is not there, a text is too long."""


@dataclass(slots=True)
class Answer:
    """What came back, as httptools tells it."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    n_bytes: int = 0
    is_whole: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_whole = True


class Connection:
    """A connection that is kept for as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def answer(self, made: Made) -> Answer:
        """Send a request, and read its answer, or as much of it as the client stays for.

        A connection that the server had closed meanwhile is made anew, once.
        """
        is_fresh = self._streams is None
        answer = await self._asked(made)
        if answer.n_bytes == 0 and not is_fresh and made.raw is None and made.leaves_after is None:
            await self.close()
            answer = await self._asked(made)
        is_kept = answer.is_whole and answer.headers.get("connection") != "close"
        if not is_kept or made.raw is not None:
            await self.close()
        return answer

    async def _asked(self, made: Made) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        answer = Answer()
        parser = httptools.HttpResponseParser(answer)
        with suppress(ConnectionError):
            writer.write(made.bytes_sent)
            if made.raw is not None:
                await self._hang_up(writer)
            await writer.drain()
            async with asyncio.timeout(ANSWER_S):
                while not answer.is_whole and not _has_enough(made, answer):
                    data = await reader.read(65536)
                    if not data:
                        break
                    answer.n_bytes += len(data)
                    _feed(parser, data, answer, made)
        return answer

    async def _hang_up(self, writer: asyncio.StreamWriter) -> None:
        """Say that no more comes: the server would wait for the rest of what is no request."""
        await writer.drain()
        await asyncio.sleep(0.05)
        with suppress(OSError):
            writer.write_eof()

    async def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def _has_enough(made: Made, answer: Answer) -> bool:
    return made.leaves_after is not None and answer.n_bytes >= made.leaves_after


def _feed(parser: Any, data: bytes, answer: Answer, made: Made) -> None:
    parser.feed_data(data)
    answer.status = parser.get_status_code()
    if made.method == "HEAD" and answer.headers:  # its answer has a length and no body
        answer.is_whole = True


def fault_in(made: Made, answer: Answer) -> str | None:
    """Say what is wrong with an answer; None if nothing is."""
    if made.raw is not None or made.leaves_after is not None:
        return f"status {answer.status}" if answer.status >= 500 else None
    if not answer.is_whole:
        return f"the answer broke off after {answer.n_bytes} bytes"
    if made.method == "HEAD":
        return None if answer.status < 500 else f"status {answer.status}"
    if answer.status == 200:
        return _fault_in_success(answer)
    return _fault_in_refusal(made, answer)


def _fault_in_success(answer: Answer) -> str | None:
    kind = answer.headers.get("content-type", "")
    if kind == "application/json":
        if answer.body.startswith(b"\x1f\x8b"):  # the binding's second version
            return None
        json.loads(answer.body)
        return None
    if kind == "text/event-stream":
        is_ended = answer.body.endswith(b"\n\n")
        return (
            None if is_ended and b'"code":5012' not in answer.body else "a stream that is not whole"
        )
    return None if kind.startswith("text/html") else f"content type {kind!r}"


def _fault_in_refusal(made: Made, answer: Answer) -> str | None:
    if answer.status == 400 and made.is_strange and answer.body == _NO_HTTP:
        return None
    if answer.headers.get("content-type") != "application/json":
        return f"status {answer.status} as {answer.headers.get('content-type')!r}"
    told = json.loads(answer.body)
    codes = codes_in(told)
    if codes is None and not (made.is_binding and is_binding_error(told)):
        return "a refusal in no known envelope"
    if answer.status in (429, 503) and not answer.headers.get("retry-after", "").isdigit():
        return f"status {answer.status} without Retry-After"
    is_known_503 = answer.status == 503 and {*(codes or ())} <= CODES_OF_503
    expected = _OF_RIGHT if made.is_right else range(400, 500)
    return None if answer.status in expected or is_known_503 else f"status {answer.status}"


def codes_in(told: Any) -> list[int] | None:
    """Give the codes of an error in one of the two envelopes; None if it is in neither."""
    if not isinstance(told, dict) or set(told) != {"result", "success", "errors", "messages"}:
        return None
    if told["success"] is not False or told["result"] not in (None, {}) or told["messages"] != []:
        return None
    errors = told["errors"]
    is_well_formed = errors and all(
        isinstance(e.get("code"), int) and isinstance(e.get("message"), str) for e in errors
    )
    return [e["code"] for e in errors] if is_well_formed else None


def is_binding_error(told: Any) -> bool:
    """Tell whether this is an error in the form of the binding protocol."""
    names = {"name", "internalCode", "httpCode", "message", "description", "requestId"}
    return isinstance(told, dict) and set(told) == names and told["httpCode"] < 500


async def send_all(
    port: int, maker: Maker, numbers: Sequence[int], *, n_connections: int = 6
) -> tuple[Counter[int], list[str]]:
    """Send requests over some connections at once.

    Returns: how often each status came (0 is none), and the faults, each with its number.
    """
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    waiting = iter(numbers)

    async def work() -> None:
        connection = Connection(port)
        for number in waiting:
            made = maker.request(number)
            try:
                answer = await connection.answer(made)
                fault = fault_in(made, answer)
            except (ValueError, TimeoutError, httptools.HttpParserError, KeyError) as error:
                answer, fault = Answer(), repr(error)
                await connection.close()
            statuses[answer.status] += 1
            if fault is not None:
                faults.append(f"{number}: {fault}; sent {made.bytes_sent[:400]!r}, "
                              f"got {answer.body[:300]!r}")  # fmt: skip
        await connection.close()

    await asyncio.gather(*(work() for _ in range(n_connections)))
    return statuses, faults
