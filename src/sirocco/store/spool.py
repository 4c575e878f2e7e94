"""Usage rows on their way to the database, in files that survive a killed server.

A row is in a file before `put` returns. The files are two, used in turn: while the rows of one
are written to the database, new rows go to the other; then the first is emptied. A lock on each
file tells the files of a living server from those that a dead one left behind, which the next
server takes over. The database counts a row once, so a row that is read again does no harm.

Survives: the end of the process at any moment. A power cut may take the rows of the last moments
before they reach the database, unless the database was away: then they are forced to the disk.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from sirocco.errors import ConfigError
from sirocco.store.usage import UsageRow
from sirocco.store.values import new_id
from sirocco.types import FinishReason

_NAMES = {field.name for field in fields(UsageRow)}


class Spool:
    """A queue of usage rows that survives the process; any thread may put, one may take.

    Args:
        folder: made with mode 0700 if absent; several servers may share it.

    Raises: ConfigError if files cannot be made in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._rows: list[UsageRow] = []
        self._is_closed = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(folder / "lock"):
                self._left_behind = [_Segment.taken_over(path) for path in _unlocked(folder)]
                name = new_id()
                self._filling = _Segment(folder / f"{name}.a.jsonl")
                self._taken = _Segment(folder / f"{name}.b.jsonl")
        except OSError as error:
            raise ConfigError(f"cannot make files in {folder}: {error.strerror}") from error

    def put(self, row: UsageRow) -> None:
        """Keep a row. Raises: OSError if it could not be written; then it is kept in memory."""
        line = _line(row)
        with self._changed:
            assert not self._is_closed, "whoever makes usage ends before its spool"
            self._rows.append(row)
            self._changed.notify()
            self._filling.append(line)

    def take(self) -> list[UsageRow] | None:
        """Wait for rows and take all there are; None once it is closed and empty.

        They are in a file until `settle`. A row that cannot be read is set aside.
        """
        if self._left_behind:
            rows, bad = _parsed(self._left_behind[0].read())
            self._set_aside(bad)
            return rows
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._is_closed)
            if not self._rows:
                return None
            rows, self._rows = self._rows, []
            self._filling, self._taken = self._taken, self._filling
        return rows

    def settle(self) -> None:
        """Forget the rows that were taken last: the database has them."""
        if self._left_behind:
            self._left_behind.pop(0).remove()
        else:
            self._taken.clear()

    def leave(self) -> None:
        """Leave the rows that were taken last to the next server."""
        if self._left_behind:
            self._left_behind.pop(0).let_go()

    def set_aside(self, row: UsageRow) -> None:
        """Keep a row that the database will never take, for a person to look at."""
        self._set_aside([_line(row)])

    def sync(self) -> None:
        """Force the files to the disk: the database is away, and it may be for long."""
        for segment in (self._filling, self._taken):
            segment.sync()

    def close(self) -> None:
        """Take no more rows. The files stay until `remove`."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def remove(self) -> None:
        """Let go of the files; those that hold rows stay for the next server."""
        for segment in (self._filling, self._taken):
            segment.let_go()

    def _set_aside(self, lines: list[bytes]) -> None:
        if lines:
            with _opened(self._folder / "set-aside", os.O_APPEND) as descriptor:
                os.write(descriptor, b"".join(lines))


class _Segment:
    """A file of rows, locked for as long as this process has it."""

    def __init__(self, path: Path, *, must_be_new: bool = True) -> None:
        self._path = path
        new = os.O_CREAT | os.O_EXCL if must_be_new else 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | new, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @classmethod
    def taken_over(cls, path: Path) -> "_Segment":
        return cls(path, must_be_new=False)

    def append(self, line: bytes) -> None:
        before = os.fstat(self._descriptor).st_size
        if os.write(self._descriptor, line) < len(line):  # the disk is full
            os.ftruncate(self._descriptor, before)
            raise OSError(28, "No space left on device")

    def read(self) -> list[bytes]:
        return self._path.read_bytes().splitlines(keepends=True)

    def clear(self) -> None:
        os.ftruncate(self._descriptor, 0)

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def let_go(self) -> None:
        if os.fstat(self._descriptor).st_size == 0:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _unlocked(folder: Path) -> Iterator[Path]:
    """Find the files that no living server holds."""
    for path in sorted(folder.glob("*.jsonl")):
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
        yield path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one server at a time make and take over files: a new one is unlocked for a moment."""
    with _opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _line(row: UsageRow) -> bytes:
    values = asdict(row) | {"started_at": row.started_at.isoformat()}
    return json.dumps(values).encode() + b"\n"


def _parsed(lines: list[bytes]) -> tuple[list[UsageRow], list[bytes]]:
    """Read rows; what is none, as the half of a line that a killed server wrote, is given back."""
    rows, bad = [], []
    for line in lines:
        try:
            rows.append(_row(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            bad.append(line.removesuffix(b"\n") + b"\n")
    return rows, bad


def _row(values: dict[str, Any]) -> UsageRow:
    known = {name: value for name, value in values.items() if name in _NAMES}
    known["finish_reason"] = FinishReason(known["finish_reason"])
    known["started_at"] = datetime.fromisoformat(known["started_at"])
    return UsageRow(**known)
