"""PostgreSQL may go and come back under load: no usage row is lost (scorecard row 26)."""

import threading
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select
from tests.postgresql import running_postgresql

from sirocco.service.usage_writer import UsageWriter
from sirocco.store.accounts import Accounts
from sirocco.store.db import Database
from sirocco.store.spool import Spool
from sirocco.store.tables import usage
from sirocco.store.usage import UsageLog, UsageRow
from sirocco.types import FinishReason

AWAY_S = 0.5


class Load:
    """Requests that end, some hundred in a second."""

    def __init__(self, writer: UsageWriter, account_id: str) -> None:
        self._writer, self._account_id = writer, account_id
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.n_put = 0
        self.longest_put_s = 0.0

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(0.005):
            row = UsageRow(
                f"r{self.n_put}", self._account_id, None, "@cf/x/y", 3, 4, 0, FinishReason.STOP,
                datetime.now(UTC), 0.1, 0.2, 0.5,
            )  # fmt: skip
            started_s = time.monotonic()
            self._writer.put(row)
            self.longest_put_s = max(self.longest_put_s, time.monotonic() - started_s)
            self.n_put += 1


def n_kept(database: Database) -> int:
    with database.connect() as connection:
        return int(connection.scalar(select(func.count()).select_from(usage)) or 0)


@pytest.mark.timeout(600)
def test_a_restart_under_load_loses_no_usage(tmp_path, is_nightly):
    with running_postgresql() as server:
        database = Database.open(server.url("postgres"))
        database.migrate()
        writer = UsageWriter(UsageLog(database), Spool(tmp_path / "spool"))
        load = Load(writer, Accounts(database).create("Levante").id)
        load.start()
        for number in range(20 if is_nightly else 2):
            time.sleep(0.2)
            server.stop("immediate" if number % 2 else "fast")
            time.sleep(AWAY_S)
            server.start()
            n_before, back_s = load.n_put, time.monotonic()
            while n_kept(database) < n_before:
                assert time.monotonic() - back_s < 5, "the spool was not written within 5 s"
                time.sleep(0.02)
        load.end()
        writer.close()

        assert n_kept(database) == load.n_put > 100
        assert load.longest_put_s < AWAY_S  # nobody waited for the database
        database.close()
