"""Connections that cannot be held, or filled, for ever: uvicorn's, with limits of ours.

uvicorn waits for ever for a request's end and for a reader that does not read, and keeps headers
of any size. What goes beyond a limit here is answered in the API's own envelope if the client can
still be answered, and the connection is closed. No limit has a timer of its own: a `Watch` looks
at all connections once a second, so that an ordinary request pays a few additions for all this.
"""

import asyncio
import socket
import struct
import time
import uuid
from contextlib import suppress
from enum import Enum, auto
from typing import Any

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sirocco.api.connection_limits import ConnectionLimits
from sirocco.api.door import Door
from sirocco.api.errors import error_answer
from sirocco.errors import (
    HeaderTooLarge,
    MalformedRequest,
    SiroccoError,
    TimedOut,
    Unavailable,
)
from sirocco.service.metrics import Metrics

TICK_S = 1.0
_PIECE_BYTES = 16 * 1024
"""What the parser gets at once: it may keep that much before it tells us of any of it."""
_MAX_PIPELINED = 64
"""Requests that may follow each other on a connection before the first of them is answered."""
_WRITE_BUFFER_BYTES = 32 * 1024
"""An answer waits when this much of it was not taken. One event more, and it is below 64 KiB."""
_PROGRESS_BYTES = 16 * 1024
"""A reader that takes this much in its time is slow, but no stalled one."""
_LINGER_S, _LINGER_BYTES = 2.0, 1024 * 1024
"""What a client that was refused may send on: closed at once, it would not see our answer."""


class Watch:
    """Looks at a server's connections once a second, as long as there are any."""

    def __init__(self) -> None:
        self._connections: set[Connection] = set()
        self._tick: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: "Connection") -> None:
        """Look at a connection from now on."""
        self._connections.add(connection)
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(TICK_S, self._look)

    def discard(self, connection: "Connection") -> None:
        """Look at it no more."""
        self._connections.discard(connection)

    def _look(self) -> None:
        now_s = time.monotonic()
        for connection in list(self._connections):
            connection.look(now_s)
        loop = asyncio.get_running_loop()
        self._tick = loop.call_later(TICK_S, self._look) if self._connections else None


class _Reading(Enum):
    """What is being read of a connection."""

    HEAD = auto()
    BODY = auto()
    NOTHING = auto()  # the last request is whole, and no other one has begun
    REST = auto()  # it was refused, and what still comes is dropped


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits. Make a class for a server with `connections_within`."""

    limits: ConnectionLimits
    watch: Watch
    metrics: Metrics
    door: Door

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading = _Reading.HEAD
        self._since_s = time.monotonic()
        self._n_bytes = 0  # of the part that is being read
        self._n_wanted = 0  # of a body, before its answer was there
        self._n_head_bytes = 0  # of the header as far as the parser has told of it
        self._n_headers = 0
        self._n_untold = 0  # given to the parser since it told of anything
        self._n_unanswered = 0
        self._may_refuse = True  # at the door; once in a turn, however many requests have come
        self._is_refused = False  # the request that is being read, at the door
        self._refusal: SiroccoError | None = None
        self._stalled: tuple[float, int] | None = None  # since when, and bytes not taken then

    # --- what asyncio tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; answer 503 if there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self.watch.add(self)
        if len(self.watch) > self.limits.max_connections:
            self._refuse(Unavailable(f"There are {self.limits.max_connections} connections."))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.watch.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, a piece at a time, until something in it is refused."""
        self._unset_keepalive_if_required()
        self._may_refuse = True
        pieces = memoryview(data)
        for begin in range(0, len(data), _PIECE_BYTES):
            if self._reading is _Reading.REST:
                self._drop(len(data) - begin)
                return
            if self.transport.is_closing():
                return
            self._parse(pieces[begin : begin + _PIECE_BYTES])

    def resume_writing(self) -> None:
        """Go on with an answer: what waited was taken."""
        self._stalled = None
        super().resume_writing()

    # --- what the parser tells

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._enter(_Reading.HEAD)
        self._n_head_bytes = self._n_headers = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the first line."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._n_headers += 1
        if self._n_headers > self.limits.max_headers:
            raise HeaderTooLarge(f"more than {self.limits.max_headers} headers")
        self._count_head(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request on."""
        if self._n_unanswered > _MAX_PIPELINED:
            raise MalformedRequest(f"more than {_MAX_PIPELINED} requests wait for each other")
        self._is_refused = self._refuse_at_door()
        if not self._is_refused:
            super().on_headers_complete()
            self._n_unanswered += 1
        self._enter(_Reading.BODY)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body; of one that nobody waits for only so much."""
        self._n_untold = 0
        self._n_bytes += len(body)
        if self._is_refused:
            return  # it is short, and dropped
        super().on_body(body)
        if self.cycle.response_complete and self._n_bytes > self._n_wanted + _LINGER_BYTES:
            self.transport.close()

    def on_message_complete(self) -> None:
        """Let the request be whole."""
        self._enter(_Reading.NOTHING)
        if not self._is_refused:
            super().on_message_complete()

    # --- what the application tells

    def on_response_complete(self) -> None:
        """Begin with the next request, or say what was wrong with it."""
        self._n_unanswered -= 1
        self._n_wanted = self._n_bytes
        super().on_response_complete()
        if self._refusal is not None:
            self._refuse(self._refusal)
        elif self._reading is _Reading.NOTHING:
            self._enter(_Reading.NOTHING)  # the time without a request begins

    # --- what the watch tells

    def look(self, now_s: float) -> None:
        """Close the connection if the client has taken too long with anything."""
        if self._has_stalled(now_s):
            self.metrics.cut("reader")
            self._cut()
            return
        if self.flow.read_paused:
            self._since_s += TICK_S  # we do not read, so the client cannot be late
        waited_s, limits = now_s - self._since_s, self.limits
        if self._reading is _Reading.HEAD:
            if waited_s > limits.header_timeout_s:
                self._too_slow("header", limits.header_timeout_s)
        elif self._reading is _Reading.BODY:
            if waited_s > limits.body_timeout_s + self._n_bytes / limits.body_bytes_per_s:
                self._too_slow("body", limits.body_timeout_s)
        elif self._reading is _Reading.NOTHING:
            if not self._n_unanswered and waited_s > limits.keep_alive_s:
                self.transport.close()
        elif waited_s > _LINGER_S and not self._n_unanswered:
            self.transport.close()

    def _has_stalled(self, now_s: float) -> bool:
        """Tell whether an answer waits for a reader that has taken next to nothing of it."""
        n_left = self.transport.get_write_buffer_size()
        # An answer that is still being written and is not held up may leave a little at any time.
        if not n_left or (self._n_unanswered and not self.flow.write_paused):
            self._stalled = None
        elif self._stalled is None or n_left <= self._stalled[1] - _PROGRESS_BYTES:
            self._stalled = (now_s, n_left)
        return self._stalled is not None and now_s - self._stalled[0] > self.limits.reader_timeout_s

    # --- what is made of it

    def _enter(self, reading: _Reading) -> None:
        self._reading = reading
        self._since_s = time.monotonic()
        self._n_bytes = self._n_untold = 0

    def _parse(self, piece: memoryview) -> None:
        self._n_untold += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # nobody here speaks anything else: it is answered as the request that it is
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, SiroccoError) else MalformedRequest(str(error)))
        else:
            if self._reading is not _Reading.NOTHING and self._is_untold_too_long():
                self._refuse(self._header_too_large())

    def _refuse_at_door(self) -> bool:
        """Answer a request that finds no room, and drop its body; False if it is to be served.

        Only in its turn, and only to a client that takes its answers.
        """
        if self._n_unanswered or not self._may_refuse or self.flow.write_paused:
            return False
        answer = self.door.refusal(self.parser.get_method(), self.url, self.headers)
        if answer is None:
            return False
        self._may_refuse = False
        stays = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self.transport.write(self._written(answer, stays=stays))
        if not stays:
            self.transport.close()
        return True

    def _is_untold_too_long(self) -> bool:
        """Tell whether a header, a trailer or a chunk's line has no end: only its end is told."""
        untold = max(0, self._n_untold - _PIECE_BYTES)
        return self._n_head_bytes + untold > self.limits.max_header_bytes

    def _count_head(self, n_bytes: int) -> None:
        self._n_untold = 0
        self._n_head_bytes += n_bytes
        self._n_bytes += n_bytes
        if self._n_head_bytes > self.limits.max_header_bytes:
            raise self._header_too_large()

    def _header_too_large(self) -> HeaderTooLarge:
        return HeaderTooLarge(f"more than {self.limits.max_header_bytes} bytes of headers")

    def _too_slow(self, part: str, limit_s: float) -> None:
        """Say that a request did not come in time; nothing, if none was begun."""
        if self._reading is _Reading.BODY or self._n_bytes or self._n_untold:
            self._refuse(TimedOut(f"the {part} was not whole after {limit_s:g} s"))
        else:
            self.metrics.cut("silent")
            self.transport.close()

    def _refuse(self, error: SiroccoError) -> None:
        """Read nothing more; answer when those before are answered, and then close."""
        if self._reading is _Reading.BODY:
            self._give_up_request()
        if self._reading is not _Reading.REST:
            self._enter(_Reading.REST)
        if self._n_unanswered:
            self._refusal = error
            return
        self._refusal = None
        self._since_s = time.monotonic()
        if not self.transport.is_closing():
            answer = error_answer(error, str(uuid.uuid4()))
            self.metrics.requested("connection", "", answer.status_code)
            self.metrics.failed(error)
            self.transport.write(self._written(answer))
            with suppress(OSError):  # the client may be gone already
                self.transport.write_eof()

    def _give_up_request(self) -> None:
        """Let a request whose body does not come be as one whose client has left."""
        cycle = self.cycle
        if self._is_refused or cycle.response_complete:
            return
        self._n_unanswered -= 1
        cycle.disconnected = True
        cycle.message_event.set()
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()  # it was the last in line, and has not begun
        elif cycle.response_started:
            self.transport.abort()  # an answer that is cut must not look like a whole one

    def _cut(self) -> None:
        """Close, and let the system drop what it still holds for the client."""
        sock = self.transport.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _drop(self, n_bytes: int) -> None:
        self._n_bytes += n_bytes
        if self._n_bytes > _LINGER_BYTES:
            self.transport.abort()

    def _written(self, answer: Response, *, stays: bool = False) -> bytes:
        """Write an answer out, with what says whether the connection stays open."""
        lines = [STATUS_LINE[answer.status_code]]
        headers = [*self.server_state.default_headers, *answer.raw_headers]
        lines += [b"%s: %s\r\n" % header for header in headers]
        end = b"\r\n" if stays else b"connection: close\r\n\r\n"
        return b"".join([*lines, end, answer.body])


def connections_within(limits: ConnectionLimits, metrics: Metrics, door: Door) -> type[Connection]:
    """Make the class of a server's connections; they are counted together."""
    members = {"limits": limits, "watch": Watch(), "metrics": metrics, "door": door}
    return type("LimitedConnection", (Connection,), members)
