"""A server's usage writing, made to be killed. `test_kills.py` starts it and talks to it.

For each line on its standard input it forks a child, which is killed from outside. The child
says `ready PID`, then the id of each request as soon as a client would see the end of its answer.
The fork saves a second of imports per kill.
"""

import itertools
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import structlog

from sirocco.service.usage_writer import UsageWriter
from sirocco.store.db import Database
from sirocco.store.spool import Spool
from sirocco.store.usage import UsageLog, UsageRow
from sirocco.types import FinishReason


class AwayLog(UsageLog):
    """The usage of a database that does not answer."""

    def record(self, *rows: UsageRow) -> None:
        raise OSError("the database is away")


def say(text: str) -> None:
    """Write a line in one piece."""
    os.write(1, f"{text}\n".encode())


def usage_row(account_id: str, request_id: str) -> UsageRow:
    return UsageRow(
        request_id, account_id, None, "@cf/x/y", 3, 4, 0, FinishReason.STOP, datetime.now(UTC),
        0.1, 0.2, 0.5,
    )  # fmt: skip


def work(mode: str, url: str, folder: Path, account_id: str, loop: str) -> None:
    """Be a server until the kill."""
    database = Database.open(url)
    if mode == "committed":
        keep = UsageLog(database).record
    else:
        log = AwayLog(database) if mode == "away" else UsageLog(database)
        keep = UsageWriter(log, Spool(folder), retry_s=0.01).put  # type: ignore[assignment]
    say(f"ready {os.getpid()}")
    for number in itertools.count():
        request_id = f"{loop}-{number}"
        keep(usage_row(account_id, request_id))
        say(request_id)


def main() -> None:
    """Fork a child for each line, and say `dead` when it is."""
    url, folder, account_id = sys.argv[1:]
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # stdout is for ids
    for loop, line in enumerate(sys.stdin):
        pid = os.fork()
        if pid == 0:
            try:
                work(line.strip(), url, Path(folder), account_id, str(loop))
            finally:
                os._exit(1)
        os.waitpid(pid, 0)
        say("dead")


if __name__ == "__main__":
    main()
