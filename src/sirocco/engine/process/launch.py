"""Starting an engine's process, and ending it. It imports no torch."""

import contextlib
import signal
import socket
import subprocess
import sys
from typing import Protocol

from sirocco.engine.process.channel import Connection
from sirocco.engine.process.messages import Start
from sirocco.errors import SetupError

_STDERR = 2


class Launched(Protocol):
    """An engine that was started and can be ended, wherever it runs."""

    @property
    def socket(self) -> socket.socket:
        """Our end of its socket, to be given to `EngineClient.connected`."""
        ...

    @property
    def pid(self) -> int | None:
        """Of its process, if it has one of its own."""
        ...

    def kill(self) -> None:
        """End it at once, again and again if need be."""
        ...

    def wait(self) -> str:
        """Wait until it has ended; say how. It blocks."""
        ...


class EngineProcess:
    """A process that loads an engine and serves it over a socket that has no name.

    Raises: SetupError if the system gives no process or no socket.
    """

    def __init__(self, start: Start) -> None:
        try:
            self.socket, theirs = socket.socketpair()
            with theirs:
                self._process = _started(theirs.fileno())
        except OSError as error:
            raise SetupError(f"no process for an engine: {error}") from error
        with contextlib.suppress(OSError):  # it is gone again: whoever reads our end finds out
            Connection(self.socket).send(start)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def kill(self) -> None:
        """Send SIGKILL, which ends a stopped process, too."""
        self._process.kill()

    def wait(self) -> str:
        """Wait for its end; say with which status or by which signal."""
        status = self._process.wait()
        if status >= 0:
            return f"exit status {status}"
        return f"signal {signal.Signals(-status).name}"


def _started(descriptor: int) -> "subprocess.Popen[bytes]":
    # -P: a file named torch.py in the present folder is not imported. A process group of its own:
    # a terminal's Ctrl-C goes to the server alone, which lets live answers end first. Not a session
    # of its own: Linux shares processors among sessions alike, and niceness counts only within one.
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", "sirocco.engine.process", str(descriptor)],
        stdin=subprocess.DEVNULL, stdout=_STDERR, pass_fds=(descriptor,), process_group=0,
    )  # fmt: skip
