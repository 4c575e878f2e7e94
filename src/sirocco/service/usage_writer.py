"""Usage rows on their way to the database, without making an answer wait for the disk."""

import queue
import threading

import structlog

from sirocco.store.usage import UsageLog, UsageRow

log = structlog.get_logger(__name__)


class UsageWriter:
    """Writes usage rows in a thread of its own, in the order they came.

    A row that the database does not take is tried again until it is, or until `close` has had
    its try: the request id keeps it from being counted twice.

    Args:
        retry_s: seconds between two tries.
    """

    def __init__(self, usage: UsageLog, *, retry_s: float = 1.0) -> None:
        self._usage = usage
        self._retry_s = retry_s
        self._rows: queue.SimpleQueue[UsageRow | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sirocco-usage", daemon=True)
        self._thread.start()

    def put(self, row: UsageRow) -> None:
        """Hand over a row, from any thread; returns at once."""
        self._rows.put(row)

    def close(self) -> None:
        """Write what was handed over, and stop. It blocks."""
        self._closing.set()
        self._rows.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (row := self._rows.get()) is not None:
            self._write_until_closed(row)

    def _write_until_closed(self, row: UsageRow) -> None:
        while True:
            is_last_try = self._closing.is_set()
            if self._write(row) or is_last_try:
                return
            self._closing.wait(self._retry_s)

    def _write(self, row: UsageRow) -> bool:
        try:
            self._usage.record(row)
        except Exception:
            log.exception("usage was not written", request_id=row.request_id)
            return False
        return True
