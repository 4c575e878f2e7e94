"""uvicorn, told to say when it is ready."""

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def run_server(
    app: FastAPI, listening: socket.socket, shutdown_s: int, *, on_ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; answers that are live get `shutdown_s` to end.

    Args:
        listening: an open socket.
        on_ready: told the server's URL once it answers.
    """
    config = uvicorn.Config(
        app, http="httptools", ws="none", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=shutdown_s,
    )  # fmt: skip
    url = _url(listening)
    server = _Server(config, lambda: on_ready(url))
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        return  # uvicorn has stopped in good order, and raises the signal again


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
