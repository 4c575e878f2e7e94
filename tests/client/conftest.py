"""A server that misbehaves: it sends the bytes that a test gives it, and no others."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from sirocco import AI

ACCOUNT = "0" * 32


@contextlib.contextmanager
def scripted_server(*answers: bytes, holds_open: bool = False) -> Iterator[str]:
    """Give each connection the next of `answers`, whatever it asks, and close it."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(30)
    released = threading.Event()

    def serve() -> None:
        for answer in answers:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.settimeout(30)
                    _read_request(connection)
                    connection.sendall(answer)
                    if holds_open:
                        released.wait(30)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        released.set()
        listening.close()
        thread.join(30)


def _read_request(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    n_bytes = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < n_bytes:
        body += connection.recv(65536)


@pytest.fixture
def client() -> Callable[..., contextlib.AbstractContextManager[AI]]:
    """Start a scripted server for as long as a `with` lasts, and give a client of it."""

    @contextlib.contextmanager
    def start(*answers: bytes, holds_open: bool = False, timeout_s: float = 20) -> Iterator[AI]:
        with (
            scripted_server(*answers, holds_open=holds_open) as url,
            AI(url, ACCOUNT, "token", timeout_s=timeout_s) as ai,
        ):
            yield ai

    return start
