"""uvicorn, told to say when it is ready, and to let live answers end before it does."""

import asyncio
import gc
import math
import resource
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse

from sirocco.api.connection import connections_within
from sirocco.api.door import Door

_LAST_WORDS_S = 0.4
"""What connections get to send the ends of their answers, after the time for answers is over."""

_SWITCH_S = 0.0005
"""How long the event loop waits for Python's lock while another thread computes; Python's own
5 ms are longer than what the loop does for most requests."""

_FILE_PIECE_BYTES = 16 * 1024

_MANY_FILES = 65_536
_OTHER_FILES = 128
"""The database's, the engines', those that are read to answer."""
_FEW_CONNECTIONS = 16


class _Server(uvicorn.Server):
    """Drains on the first signal, hurries on the second, and is uvicorn from the third on."""

    def __init__(
        self, config: uvicorn.Config, app: FastAPI, shutdown_s: float, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._app = app
        self._shutdown_s = shutdown_s
        self._on_ready = on_ready
        self._hurry = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        # What is there now stays: a hundred thousand objects of the program itself. A collection
        # that walks through them holds up all requests for many milliseconds (docs/log.md).
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(_SWITCH_S)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and not self._hurry.is_set() and self._loop is not None:
            # A signal may come between any two instructions, so the loop itself has to do it.
            self._loop.call_soon_threadsafe(self._hurry.set)
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let live answers end while health and refusals are still answered; then close."""
        until_s = time.monotonic() + self._shutdown_s
        if self.started:
            state = self._app.state
            # Batches give way at once: what they leave is begun anew by the next server.
            drain = state.service.drain(self._shutdown_s, self._hurry)
            await asyncio.gather(drain, state.batch_runner.aclose())
        left_s = 0.0 if self._hurry.is_set() else until_s - time.monotonic()
        self.config.timeout_graceful_shutdown = max(left_s, _LAST_WORDS_S)  # type: ignore[assignment]
        await super().shutdown(sockets)


def run_server(
    app: FastAPI, listening: socket.socket, shutdown_s: int, *, on_ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; answers that are live get `shutdown_s` to end.

    Args:
        listening: an open socket.
        on_ready: told the server's URL once it answers.
    """
    config = server_config(app)
    url = _url(listening)
    server = _Server(config, app, shutdown_s, lambda: on_ready(url))
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        return  # uvicorn has stopped in good order, and raises the signal again


def server_config(app: FastAPI) -> uvicorn.Config:
    """Say how an application is served: within the limits of its settings."""
    # A file's piece is held twice for a reader that stalls: where it was read, and to be sent.
    FileResponse.chunk_size = _FILE_PIECE_BYTES
    limits = app.state.settings.connection_limits(_most_connections())
    connections = connections_within(limits, app.state.metrics, Door(app.state))
    return uvicorn.Config(
        app, http=connections, ws="none", log_config=None, access_log=False,
        server_header=False, timeout_keep_alive=math.ceil(limits.keep_alive_s),
    )  # fmt: skip


def _most_connections() -> int:
    """Let as many files be open as the system permits; leave some to all else than connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, _MANY_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # macOS permits less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_FEW_CONNECTIONS, min(soft, _MANY_FILES) - _OTHER_FILES)


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
