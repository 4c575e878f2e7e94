"""Messages over a socket: a length of four bytes, then as many bytes of msgpack.

The engine's side blocks in a thread; the API's side is a protocol of its event loop.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import cast

import msgspec

from sirocco.engine.process.messages import (
    FromEngine,
    ToEngine,
    decode_from_engine,
    decode_to_engine,
    encode,
)
from sirocco.errors import SiroccoError

FRAME_LIMIT_BYTES = 16 * 1024 * 1024
"""Far above the longest prompt, and far below what garbage in four bytes could announce."""

_HEADER = struct.Struct("<I")


class ChannelError(Exception):
    """The other side sent what is no message, or this one would have to send too much."""


_NO_MESSAGE = (ChannelError, msgspec.MsgspecError, ValueError, SiroccoError)
"""What reading garbage raises; values with limits of their own refuse it in their own words."""


def frame(message: ToEngine | FromEngine) -> bytes:
    """Write a message down. Raises: ChannelError beyond the limit."""
    body = encode(message)
    if len(body) > FRAME_LIMIT_BYTES:
        raise ChannelError(f"a message has {len(body)} bytes; at most {FRAME_LIMIT_BYTES} may")
    return _HEADER.pack(len(body)) + body


class FrameSplitter:
    """Finds the bodies of frames in a stream of bytes that arrives in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return every body that `data` completes. Raises: ChannelError for a length too large."""
        self._buffer += data
        bodies, at = [], 0
        while (end := self._end_of_frame(at)) is not None:
            bodies.append(bytes(self._buffer[at + _HEADER.size : end]))
            at = end
        del self._buffer[:at]
        return bodies

    def _end_of_frame(self, at: int) -> int | None:
        if len(self._buffer) - at < _HEADER.size:
            return None
        end: int = at + _HEADER.size + _checked_length(self._buffer[at : at + _HEADER.size])
        return end if end <= len(self._buffer) else None


class Connection:
    """The engine's side: any thread sends, one receives; both block."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._sending = threading.Lock()

    def send(self, message: FromEngine | ToEngine) -> None:
        """Send a message whole. Raises: OSError if the other side is gone; ChannelError."""
        data = frame(message)
        with self._sending:
            self._socket.sendall(data)

    def receive(self) -> ToEngine | None:
        """Wait for the next message; None when the other side is gone. Raises: ChannelError."""
        header = self._read(_HEADER.size)
        body = header and self._read(_checked_length(header))
        if not body:
            return None
        try:
            return cast("ToEngine", decode_to_engine(body))
        except _NO_MESSAGE as error:
            raise ChannelError(f"a frame that is no message: {error}") from error

    def close(self) -> None:
        """Hang up: a `receive` that waits in another thread ends, too."""
        with contextlib.suppress(OSError):  # the other side may be gone already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _read(self, n_bytes: int) -> bytes:
        """Read exactly so many bytes; none if the stream ends before."""
        data = bytearray()
        while len(data) < n_bytes:
            try:
                part = self._socket.recv(n_bytes - len(data))
            except OSError:
                return b""
            if not part:
                return b""
            data += part
        return bytes(data)


class EngineProtocol(asyncio.Protocol):
    """The API's side: hands over each message as it comes, and says once when none will.

    Args:
        on_message: called for each message.
        on_lost: called with the reason when the connection has ended, from either side.
    """

    def __init__(
        self, on_message: Callable[[FromEngine], None], on_lost: Callable[[str], None]
    ) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._splitter = FrameSplitter()
        self._transport: asyncio.Transport | None = None
        self._reason = "its process ended"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand over the messages that are complete; garbage ends the connection."""
        try:
            messages = [decode_from_engine(body) for body in self._splitter.feed(data)]
        except _NO_MESSAGE as error:
            self.hang_up(f"it sent what is no message: {error}")
            return
        for message in messages:
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Say so, once."""
        self._transport = None
        self._on_lost(self._reason)

    def send(self, data: bytes) -> None:
        """Send a frame, if there is anybody to read it."""
        if self._transport is not None:
            self._transport.write(data)

    def hang_up(self, reason: str) -> None:
        """End the connection without a last word."""
        if self._transport is not None:
            self._reason = reason
            self._transport.abort()


def _checked_length(header: bytes | bytearray) -> int:
    (length,) = _HEADER.unpack(header)
    if not 0 < length <= FRAME_LIMIT_BYTES:
        raise ChannelError(f"a frame of {length} bytes; at most {FRAME_LIMIT_BYTES} may come")
    return cast("int", length)
