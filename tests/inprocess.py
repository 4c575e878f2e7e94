"""An engine behind its socket in a thread of the test: no process, and nothing to load."""

import socket
import threading
from collections.abc import Callable

from sirocco.engine.engine import Engine
from sirocco.engine.process.channel import Connection
from sirocco.engine.process.hosting import EngineHost


class EngineThread:
    """What `EngineProcess` is, without the process.

    Attributes:
        engine: from its load to its end; the test may look, while the thread works on it.
        fault: what ended the host, if anything did.
    """

    pid = None

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._load = load
        self.engine: Engine | None = None
        self.fault: BaseException | None = None
        self.socket, theirs = socket.socketpair()
        self.connection = Connection(theirs)
        self.host = EngineHost(self.connection)
        self._thread = threading.Thread(target=self._run, name="sirocco-engine", daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """Hang up; it ends after its step."""
        self.connection.close()

    def wait(self) -> str:
        """Wait for the thread."""
        self._thread.join()
        return "end of its thread"

    def _run(self) -> None:
        try:
            self.host.run(self._loaded)
        except Exception as fault:
            self.fault = fault
        finally:
            self.connection.close()
            self.engine = None  # its kernels want to be gone before the interpreter is

    def _loaded(self) -> Engine:
        self.engine = self._load()
        return self.engine
