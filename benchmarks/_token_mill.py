"""An engine that computes nothing: each step gives every live answer one token of text.

It stands where `sirocco.engine.process` does, so that what is measured is the server alone.
"""

import socket
import subprocess
import sys
import threading
import time

from sirocco.engine.inspection.shape import EngineShape
from sirocco.engine.process.channel import Connection
from sirocco.engine.process.messages import Abort, Load, Piece, Pieces, Ready, Submit
from sirocco.engine.request import EngineLimits
from sirocco.kvcache.format import FLOAT32
from sirocco.types import FinishReason

STEP_S = 0.02
MAX_LIVE = 1024
SHAPE = EngineShape(1, 1, 1, 32, None, 1 << 20, 1 << 30, 16, 1, "float32", FLOAT32)
"""Of a network that nobody looks into."""


class MillProcess:
    """A mill in a process of its own; what `EngineProcess` is for an engine.

    Args:
        max_live: its places.
    """

    def __init__(self, max_live: int = MAX_LIVE) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), str(max_live)],
                pass_fds=(theirs.fileno(),),
            )
        self.pid = self._process.pid

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    def wait(self) -> str:
        """Wait for its end."""
        return f"status {self._process.wait()}"


def main(descriptor: int, max_live: int) -> None:
    """Grind until the other side is gone."""
    connection = Connection(socket.socket(fileno=descriptor))
    connection.send(Ready(EngineLimits(1 << 30, 1 << 20, 1), max_live, max_live, SHAPE))
    left: dict[str, int] = {}
    threading.Thread(target=_grind, args=(connection, left, max_live), daemon=True).start()
    while (message := connection.receive()) is not None:
        if isinstance(message, Submit):
            left[message.request.request_id] = message.request.sampling.max_tokens
        elif isinstance(message, Abort):
            left.pop(message.request_id, None)


def _grind(connection: Connection, left: dict[str, int], max_live: int) -> None:
    while True:
        time.sleep(STEP_S)
        pieces = []
        for request_id, n in list(left.items()):
            left[request_id] = n - 1
            if n == 1:
                del left[request_id]
            reason = FinishReason.LENGTH if n == 1 else None
            pieces.append(Piece(request_id, " word", (n % 1000,), reason, is_last=n == 1))
        connection.send(Pieces(pieces, Load(0, len(left), max_live, 1, 1)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
