"""The processes that compute with the first, each on a GPU of its own. It imports no torch.

The first rank has the engine and starts the others. It tells each over a socket of its own what
it runs; when that ends, however the first rank died, so does the other.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from sirocco.engine.process.channel import Connection
from sirocco.engine.process.messages import Forward, Join, Start
from sirocco.errors import EngineFault, SetupError

MEETING = "meeting"
"""Name of the file through which ranks find each other."""

_STDERR = 2
_END_S = 5.0
"""Time for a follower to end by itself."""


class Followers:
    """All ranks but the first.

    Args:
        start: what each of them loads.
        n_ranks: the first included.
        folder: an empty one, in which ranks find each other; it is deleted in the end.
        on_loss: called in a thread with a sentence when one ended too early; a step that waits
            for it may never end.

    Raises: SetupError if the system gives no process or no socket.
    """

    def __init__(
        self, start: Start, n_ranks: int, folder: Path, *, on_loss: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._on_loss = on_loss
        self._lost: str | None = None
        self._is_closing = False
        self._connections: list[Connection] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        for rank in range(1, n_ranks):
            self._start(Join(start, rank, n_ranks, str(folder / MEETING)))

    @property
    def pids(self) -> list[int]:
        """Of their processes, by rank."""
        return [process.pid for process in self._processes]

    def tell(self, forward: Forward) -> None:
        """Let all of them run what the first rank runs. Raises: EngineFault if one is gone."""
        try:
            for connection in self._connections:
                connection.send(forward)
        except OSError as error:
            raise EngineFault(self._lost or f"a rank is gone: {error}") from error
        if self._lost is not None:
            raise EngineFault(self._lost)

    def close(self) -> None:
        """Let them end, and wait for it."""
        self._is_closing = True
        shutil.rmtree(self._folder, ignore_errors=True)
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, join: Join) -> None:
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [sys.executable, "-P", "-m", "sirocco.engine.process.follower",
                     str(theirs.fileno())],
                    stdin=subprocess.DEVNULL, stdout=_STDERR, pass_fds=(theirs.fileno(),),
                )  # fmt: skip
        except OSError as error:
            raise SetupError(f"no process for rank {join.rank}: {error}") from error
        connection = Connection(ours)
        self._connections.append(connection)
        self._processes.append(process)
        with contextlib.suppress(OSError):  # it is gone again: the watch finds out
            connection.send(join)
        threading.Thread(
            target=self._watch, args=(process, join.rank), name=f"sirocco-rank-{join.rank}",
            daemon=True,
        ).start()  # fmt: skip

    def _watch(self, process: "subprocess.Popen[bytes]", rank: int) -> None:
        """Wait for the end of a process. This is a thread."""
        status = process.wait()
        if not self._is_closing:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._lost = f"rank {rank} of the engine ended with status {status}"
            self._on_loss(self._lost)
