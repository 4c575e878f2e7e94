"""workerd as a child process, on a socket that stays open while it is replaced."""

import os
import re
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sirocco.errors import SetupError
from sirocco.worker.guardian import Guardian

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 1.0
_NOTE = re.compile(r"^\S+\.c\+\+:\d+: (?P<severity>\w+): (?P<text>.*)$")
_FAULT = re.compile(r"uncaught exception; source = (?P<source>[^;]*); stack = (?P<stack>.*)$")


class Runtime:
    """One run of workerd; it ends with this process, also where that is killed.

    Args:
        listening: an open socket; requests that come while nobody runs wait in it.
        complain: told what a person should read of what workerd says about itself.
    """

    def __init__(
        self, workerd: Path, config: Path, listening: socket.socket,
        complain: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._last_words: list[str] = []
        self._complain = complain
        ready, said = os.pipe()
        try:
            self._process = subprocess.Popen(
                [workerd, "serve", "--verbose", str(config),
                 f"--socket-fd=http={listening.fileno()}", f"--control-fd={said}"],
                pass_fds=(listening.fileno(), said), stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True, errors="replace",
            )  # fmt: skip
        except OSError as error:
            os.close(ready)
            raise SetupError(f"cannot start {workerd}: {error.strerror}") from error
        finally:
            os.close(said)
        self._guardian = Guardian(self._process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._wait(ready)
        finally:
            os.close(ready)

    @property
    def has_ended(self) -> bool:
        """It is gone, though nobody stopped it."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End it; answers that are live break off."""
        self._guardian.dismiss()
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_STOP_TIMEOUT_S)

    def _wait(self, ready: int) -> None:
        """Wait until it listens."""
        readable, _, _ = select.select([ready], [], [], _START_TIMEOUT_S)
        if readable and os.read(ready, 1):
            return
        self.stop()
        reason = "; ".join(self._last_words) or f"it does not listen after {_START_TIMEOUT_S:g} s"
        raise SetupError(f"the Workers runtime did not start: {reason}")

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            for line in readable_lines(stderr):
                self._last_words = [*self._last_words[-4:], line.strip()]
                self._complain(line)


def readable_lines(lines: Iterable[str]) -> Iterator[str]:
    """Leave out what workerd notes for its makers; faults of the script stay, with their stack.

    workerd tells of a fault only among such notes.
    """
    is_note = False
    for line in map(str.rstrip, lines):
        note = _NOTE.match(line)
        if note is None:
            if not (is_note and (line.startswith("stack: ") or not line)):
                yield line
            continue
        is_note = True
        fault = _FAULT.match(note["text"])
        if fault is not None:
            yield f"{fault['source']}: {fault['stack']}"
        elif note["severity"] in ("error", "fatal"):
            yield note["text"]
