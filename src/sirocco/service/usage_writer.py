"""Usage rows on their way to the database, without making an answer wait for the disk."""

import queue
import threading
from typing import Protocol

import structlog

from sirocco.store.db import reason_of
from sirocco.store.usage import UsageLog, UsageRow, is_fault_of_row

log = structlog.get_logger(__name__)

GATHER_S = 0.1
"""Rest after a commit, in which rows gather for the next: each takes milliseconds of Python's lock,
for which the event loop waits."""


class RowQueue(Protocol):
    """What rows wait in: `Spool`, which survives the process, or `Waiting`, which does not."""

    def put(self, row: UsageRow) -> None:
        """Keep a row, from any thread. Raises: OSError if it is kept in memory alone."""

    def take(self) -> list[UsageRow] | None:
        """Wait for rows and take all there are; None once it is closed and empty."""

    def settle(self) -> None:
        """Forget the rows that were taken last."""

    def leave(self) -> None:
        """Leave the rows that were taken last to the next server, if there is a way."""

    def set_aside(self, row: UsageRow) -> None:
        """Keep a row that the database will never take, or forget it."""

    def sync(self) -> None:
        """Make what is kept survive a power cut, if it can."""

    def close(self) -> None:
        """Let `take` come to its end."""

    def remove(self) -> None:
        """Let go of what is behind it."""


class Waiting:
    """Rows in memory."""

    def __init__(self) -> None:
        self._rows: queue.SimpleQueue[UsageRow | None] = queue.SimpleQueue()

    def put(self, row: UsageRow) -> None:
        """Keep a row, from any thread."""
        self._rows.put(row)

    def take(self) -> list[UsageRow] | None:
        """Wait for rows and take all there are; None once it is closed and empty."""
        taken = [self._rows.get()]
        while not self._rows.empty():
            taken.append(self._rows.get())
        if None in taken:  # for the next call, which finds nothing else
            self._rows.put(None)
        return [row for row in taken if row is not None] or None

    def settle(self) -> None:
        """Do nothing: rows that were taken are not here any more."""

    def leave(self) -> None:
        """Do nothing: there is no way."""

    def set_aside(self, row: UsageRow) -> None:
        """Do nothing: the log names it."""

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Let `take` come to its end."""
        self._rows.put(None)

    def remove(self) -> None:
        """Do nothing."""


class UsageWriter:
    """Writes usage rows in a thread of its own, all that wait in one commit.

    Rows that the database does not take are tried again until it does, or until `close` has had
    its try: the request id keeps each from being counted twice. With a `Spool`, rows that are
    left then are written by the next server.

    Args:
        rows: what they wait in.
        retry_s: seconds between two tries.
    """

    def __init__(
        self, usage: UsageLog, rows: RowQueue | None = None, *, retry_s: float = 1.0
    ) -> None:
        self._usage = usage
        self._retry_s = retry_s
        self._rows = rows or Waiting()
        self._unsafe: set[str] = set()  # request ids whose rows are in memory alone
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sirocco-usage", daemon=True)
        self._thread.start()

    def put(self, row: UsageRow) -> None:
        """Hand over a row, from any thread: call it before the answer's last word is sent.

        When it returns, the row survives the end of the process, if there is a `Spool`.
        """
        self._unsafe.add(row.request_id)  # first: it may be written before `put` has returned
        try:
            self._rows.put(row)
        except OSError:  # the disk is full, say; the database may still take it
            log.exception("usage is in memory alone", request_id=row.request_id)
        else:
            self._unsafe.discard(row.request_id)

    @property
    def is_safe(self) -> bool:
        """Usage is written down where the process's end does not take it, or there is none."""
        return not self._unsafe

    def close(self) -> None:
        """Write what was handed over, and stop. It blocks."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._rows.close()
        self._thread.join()
        self._rows.remove()

    def _work(self) -> None:
        while (rows := self._rows.take()) is not None:
            self._write_until_closed(rows)

    def _write_until_closed(self, rows: list[UsageRow]) -> None:
        while True:
            is_last_try = self._closing.is_set()
            if self._write(rows):
                self._unsafe.difference_update(row.request_id for row in rows)
                self._rows.settle()
                self._closing.wait(GATHER_S)
                return
            if is_last_try:
                self._rows.leave()
                return
            self._sync()
            self._closing.wait(self._retry_s)

    def _write(self, rows: list[UsageRow]) -> bool:
        if not rows:  # a file that a server left was empty
            return True
        try:
            self._usage.record(*rows)
        except Exception as error:
            if is_fault_of_row(error):
                return self._write_each(rows)
            _log_failure(rows[0], len(rows), error)
            return False
        return True

    def _write_each(self, rows: list[UsageRow]) -> bool:
        """Write row by row, so that one that breaks a rule keeps no other back."""
        for row in rows:
            try:
                self._usage.record(row)
            except Exception as error:
                _log_failure(row, 1, error)
                if not is_fault_of_row(error):
                    return False
                self._rows.set_aside(row)
        return True

    def _sync(self) -> None:
        try:
            self._rows.sync()
        except OSError:
            log.exception("usage is not safe from a power cut")


def _log_failure(first: UsageRow, n_rows: int, error: Exception) -> None:
    # No traceback: it would come every second while the database is away, with a statement of
    # hundreds of rows in it.
    log.error(
        "usage was not written", request_id=first.request_id, rows=n_rows, reason=reason_of(error)
    )
