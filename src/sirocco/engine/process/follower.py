"""A rank that computes with the first one: `python -m sirocco.engine.process.follower FD`.

FD is the number of an inherited socket. The process ends when the other end of it is gone, even
in the middle of a step that will never end.
"""

import os
import queue
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import structlog

from sirocco.engine.process.channel import ChannelError, Connection
from sirocco.engine.process.messages import Forward, Join, ToEngine
from sirocco.logs import configure_logs

log = structlog.get_logger(__name__)

FAULT_STATUS = 70
"""Exit status where it can go on no more; sysexits.h calls it an internal error."""


def main(descriptor: int) -> int:
    """Load a part and compute with it what the first rank says; give the exit status."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)  # the first rank decides when it ends
    os.set_inheritable(descriptor, False)
    connection = Connection(socket.socket(fileno=descriptor))
    join = connection.receive()
    if not isinstance(join, Join):
        return FAULT_STATUS
    configure_logs(join.start.log_level, join.start.log_format)
    inbox: queue.SimpleQueue[ToEngine] = queue.SimpleQueue()
    threading.Thread(
        target=_read, args=(connection, inbox, Path(join.meeting).parent),
        name="sirocco-inbox", daemon=True,
    ).start()  # fmt: skip
    try:
        from sirocco.engine.parallel import follow  # noqa: PLC0415 - torch is slow to import

        follow(join, _told(inbox))
    except Exception:
        log.critical("a rank of the engine cannot go on", rank=join.rank, exc_info=True)
        return FAULT_STATUS
    return 0


def _read(connection: Connection, inbox: "queue.SimpleQueue[ToEngine]", folder: Path) -> None:
    """Put what comes into the inbox; end the process when nothing will. This is a thread."""
    try:
        while (message := connection.receive()) is not None:
            inbox.put(message)
    except ChannelError as error:
        log.warning("a rank was sent what is no message", reason=str(error))
    shutil.rmtree(folder, ignore_errors=True)  # the first rank may have been killed
    os._exit(0)


def _told(inbox: "queue.SimpleQueue[ToEngine]") -> Iterator[Forward]:
    while True:
        message = inbox.get()
        assert isinstance(message, Forward), f"{type(message).__name__} is for the first rank"
        yield message


if __name__ == "__main__":
    status = main(int(sys.argv[1]))
    sys.stderr.flush()
    os._exit(status)
