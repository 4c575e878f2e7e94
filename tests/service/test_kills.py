"""Usage survives kill -9: what a client saw the end of has one row (scorecard rows 7 and 27)."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from sirocco.service.usage_writer import UsageWriter
from sirocco.store.accounts import Accounts
from sirocco.store.db import Database
from sirocco.store.spool import Spool
from sirocco.store.usage import UsageLog

VICTIM = Path(__file__).parent / "kill_victim.py"
MODES = ("spooled", "away", "spooled", "committed")
"""Acknowledged when it is in the spool; the same with a database that is away; acknowledged when
the database has it."""


class Victim:
    """The process of `kill_victim.py`."""

    def __init__(self, url: str, folder: Path, account_id: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(VICTIM), url, str(folder), account_id],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip

    def kill_once(self, mode: str, after_s: float) -> list[str]:
        """Start a server, kill it, and give the ids of the requests that it acknowledged."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{mode}\n".encode())
        self._process.stdin.flush()
        pid = int(self._line().removeprefix("ready "))
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
        acknowledged = []
        while (line := self._line()) != "dead":
            acknowledged.append(line)
        return acknowledged

    def end(self) -> None:
        """Let it end by itself."""
        try:
            self._process.communicate(timeout=30)
        finally:
            self._process.kill()
        assert self._process.returncode == 0

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()


@pytest.fixture
def victim(database, database_url, tmp_path) -> Iterator[Victim]:
    account = Accounts(database).create("Levante")
    victim = Victim(database_url, tmp_path / "spool", account.id)
    yield victim
    victim.end()


@pytest.mark.timeout(3600)
def test_what_was_acknowledged_has_one_row_after_any_number_of_kills(
    database, database_url, victim, tmp_path, is_nightly
):
    n_kills = 1000 if is_nightly else 12
    rng = random.Random(11)  # noqa: S311 - the same moments each time
    acknowledged: list[str] = []

    for number in range(n_kills):
        mode = MODES[number % len(MODES)]
        acknowledged += victim.kill_once(mode, rng.uniform(0, 0.03))
    UsageWriter(UsageLog(database), Spool(tmp_path / "spool")).close()  # the next server

    kept = kept_ids(database)
    assert len(acknowledged) > n_kills
    assert set(acknowledged) - set(kept) == set()
    assert max(Counter(kept).values()) == 1
    assert counted(database) == len(kept)
    assert [file.name for file in (tmp_path / "spool").glob("*.jsonl")] == []
    if database_url.startswith("sqlite"):
        assert integrity(tmp_path / "sirocco.db") == "ok"


def kept_ids(database: Database) -> list[str]:
    with database.connect() as connection:
        return list(connection.scalars(text("SELECT request_id FROM usage")))


def counted(database: Database) -> int:
    """Tell how many requests the days count."""
    with database.connect() as connection:
        return int(connection.scalar(text("SELECT sum(requests) FROM daily_usage")) or 0)


def integrity(file: Path) -> str:
    connection = sqlite3.connect(file)
    try:
        (result,) = connection.execute("PRAGMA integrity_check").fetchone()
        return str(result)
    finally:
        connection.close()
