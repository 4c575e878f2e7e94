"""An engine as a process of its own: `python -m sirocco.engine.process FD`.

FD is the number of an inherited socket, over which everything is said. The process ends when
the other end of it is gone, however its parent died.
"""

import gc
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sirocco.engine.process.channel import Connection
from sirocco.engine.process.hosting import EngineHost
from sirocco.engine.process.messages import Start
from sirocco.engine.process.progress import LoadingProgress
from sirocco.logs import configure_logs

if TYPE_CHECKING:
    from sirocco.engine.engine import Engine

log = structlog.get_logger(__name__)

FAULT_STATUS = 70
"""Exit status of an engine that must be replaced; sysexits.h calls it an internal error."""

_NICENESS = 5
"""An engine takes what processors have left. The server needs little, and at once: where both
want a processor, a step that takes a moment longer is better than hundreds of callers who wait."""


def main(descriptor: int) -> int:
    """Load and serve the engine that the first message asks for; give the exit status."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)  # the parent decides when it ends
    os.nice(_NICENESS)
    os.set_inheritable(descriptor, False)
    connection = Connection(socket.socket(fileno=descriptor))
    start = connection.receive()
    if not isinstance(start, Start):
        return FAULT_STATUS
    configure_logs(start.log_level, start.log_format)
    # Not sys.exit: that would wait for a step, and for torch to tidy up what ends anyway.
    host = EngineHost(connection, on_hang_up=lambda: os._exit(0))
    try:
        host.run(lambda: _load(start))
    except Exception:
        log.critical("the engine is of no use any more, and ends", exc_info=True)
        return FAULT_STATUS
    return 0


def _load(start: Start) -> "Engine":
    from sirocco import native  # noqa: PLC0415 - torch is slow, and the socket is read before
    from sirocco.engine.loading import load_engine, load_shared_engine  # noqa: PLC0415

    if start.threads is not None and native.is_built():
        native.set_n_threads(start.threads)
    progress = LoadingProgress(log.info)
    if start.gpus > 1:
        return load_shared_engine(start, on_loss=_end, on_progress=progress, on_note=log.warning)
    engine = load_engine(
        Path(start.folder),
        device=start.device,
        weights=start.weights,
        config=start.config,
        on_progress=progress,
        on_note=log.warning,
    )
    if engine.model.is_batch_invariant:
        _keep_torch_to_one_thread()
    # What is there now stays: torch's 180 000 objects, which a full collection walks through in
    # 0.1 to 0.3 s while every answer waits.
    gc.freeze()
    return engine


def _end(reason: str) -> None:
    """End at once: whoever started this process starts the next one."""
    log.critical("the engine is of no use any more, and ends", reason=reason)
    os._exit(FAULT_STATUS)


def _keep_torch_to_one_thread() -> None:
    """Leave the processors to our own kernels, which compute nearly all of such a model.

    torch's threads wait for each other by spinning: beside other work a step of milliseconds
    took hundreds of them.
    """
    import torch  # noqa: PLC0415 - as above

    torch.set_num_threads(1)


if __name__ == "__main__":
    status = main(int(sys.argv[1]))
    sys.stderr.flush()
    os._exit(status)
