"""Usage rows reach the database in the end, and never keep a server from ending."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.served import wait_until

from sirocco.errors import ConfigError
from sirocco.service.usage_writer import UsageWriter
from sirocco.store.accounts import Accounts
from sirocco.store.db import Database
from sirocco.store.spool import Spool
from sirocco.store.usage import UsageLog, UsageRow
from sirocco.types import FinishReason

NEVER_S = 60.0
"""A retry so late that no test sees it: what is written was written for another reason."""


@pytest.fixture
def row(database) -> UsageRow:
    return UsageRow(
        request_id="r1",
        account_id=Accounts(database).create("Levante").id,
        api_token_id=None,
        model_id="@cf/mistral/mistral-7b-instruct-v0.1",
        prompt_tokens=11,
        output_tokens=7,
        cached_tokens=4,
        finish_reason=FinishReason.STOP,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        ttft_s=0.25,
        duration_s=1.5,
    )


@pytest.fixture(params=["memory", "spool"])
def make_writer(request, tmp_path):
    """Make writers, the second after the first is closed, over one spool or none."""

    def make(log: UsageLog, *, retry_s: float = NEVER_S) -> UsageWriter:
        rows = Spool(tmp_path / "spool") if request.param == "spool" else None
        return UsageWriter(log, rows, retry_s=retry_s)

    return make


class FailingLog(UsageLog):
    """A usage log whose database is away: for a number of tries, or until it is let back."""

    def __init__(self, database: Database, n_failures: float) -> None:
        super().__init__(database)
        self.n_failures = n_failures
        self.n_tries = 0
        self.tries: list[str] = []
        self.tried = threading.Event()

    def record(self, *rows: UsageRow) -> None:
        self.n_tries += 1
        self.tries += [row.request_id for row in rows]
        fails = self.n_tries <= self.n_failures
        self.tried.set()
        if fails:
            raise OSError("the database is away")
        super().record(*rows)


def kept(database, row) -> list[str]:
    return [kept.request_id for kept in UsageLog(database).of_account(row.account_id)]


def test_a_row_is_written_without_waiting_for_the_end(database, row, make_writer):
    writer = make_writer(UsageLog(database))

    writer.put(row)

    wait_until(lambda: kept(database, row) == ["r1"])
    writer.close()


def test_closing_writes_all_that_was_handed_over_in_its_order(database, row, make_writer):
    log = FailingLog(database, n_failures=0)
    writer = make_writer(log)
    ids = [f"r{i}" for i in range(50)]
    for request_id in ids:
        writer.put(replace(row, request_id=request_id))

    writer.close()

    assert log.tries == ids
    assert sorted(kept(database, row)) == sorted(ids)


def test_rows_of_many_threads_are_all_written(database, row, make_writer):
    writer = make_writer(UsageLog(database))
    rows = [[replace(row, request_id=f"{t}-{i}") for i in range(10)] for t in range(4)]
    threads = [threading.Thread(target=lambda m=mine: [*map(writer.put, m)]) for mine in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    writer.close()

    assert len(kept(database, row)) == 40


def test_a_row_that_fails_is_tried_again_until_it_is_written(database, row, make_writer):
    log = FailingLog(database, n_failures=3)
    writer = make_writer(log, retry_s=0.01)

    writer.put(row)
    writer.put(replace(row, request_id="r2"))

    wait_until(lambda: kept(database, row) == ["r1", "r2"])
    writer.close()
    assert log.n_tries in (4, 5)  # r2 came along, or after


def test_a_row_that_was_written_but_seemed_to_fail_is_counted_once(database, row, make_writer):
    class LosesItsAnswer(FailingLog):
        def record(self, *rows):
            UsageLog(database).record(*rows)
            super().record(*rows)

    writer = make_writer(LosesItsAnswer(database, n_failures=2), retry_s=0.01)

    writer.put(row)
    writer.close()

    assert kept(database, row) == ["r1"]


def test_a_row_that_failed_before_closing_gets_its_try_in_closing(database, row, make_writer):
    """The database may be back by then: a restart of both is the usual reason for either."""
    log = FailingLog(database, n_failures=1)
    writer = make_writer(log)
    writer.put(row)
    assert log.tried.wait(10)

    writer.close()

    assert kept(database, row) == ["r1"]


def test_a_database_that_never_comes_back_does_not_hold_up_closing(database, row, make_writer):
    log = FailingLog(database, n_failures=float("inf"))
    writer = make_writer(log)
    for request_id in ("r1", "r2", "r3"):
        writer.put(replace(row, request_id=request_id))
    assert log.tried.wait(10)
    started_s = time.monotonic()

    writer.close()

    assert time.monotonic() - started_s < NEVER_S / 2
    assert set(log.tries) == {"r1", "r2", "r3"}
    assert log.n_tries <= 3  # the first before closing and in it; what waited then once


def test_a_row_that_can_never_be_written_keeps_no_other_back_at_the_end(database, row, make_writer):
    """A row of an account that is not there breaks a rule of the database each time."""
    writer = make_writer(UsageLog(database), retry_s=0.01)
    writer.put(replace(row, request_id="r0", account_id="0" * 32))
    writer.put(row)

    writer.close()

    assert kept(database, row) == ["r1"]


def test_closing_twice_is_closing_once(database, row, make_writer):
    writer = make_writer(UsageLog(database))
    writer.put(row)

    writer.close()
    writer.close()

    assert kept(database, row) == ["r1"]


def test_closing_without_rows_ends_the_thread(database, make_writer):
    before = threading.active_count()
    writer = make_writer(UsageLog(database))
    assert threading.active_count() == before + 1

    writer.close()

    assert threading.active_count() == before


def test_rows_that_wait_are_written_in_one_commit(database, row, make_writer):
    log = FailingLog(database, n_failures=1)
    writer = make_writer(log, retry_s=0.2)
    writer.put(row)
    assert log.tried.wait(10)
    ids = [f"r{i}" for i in range(2, 100)]

    for request_id in ids:
        writer.put(replace(row, request_id=request_id))

    wait_until(lambda: len(kept(database, row)) == 99)
    assert log.n_tries == 3
    writer.close()


# --- what survives ---


@pytest.fixture
def spool_folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def files_with_rows(folder):
    return [file for file in folder.glob("*.jsonl") if file.stat().st_size]


def test_rows_that_the_database_never_took_are_written_by_the_next_server(
    database, row, spool_folder
):
    away = UsageWriter(FailingLog(database, float("inf")), Spool(spool_folder), retry_s=NEVER_S)
    ids = [f"r{i}" for i in range(5)]
    for request_id in ids:
        away.put(replace(row, request_id=request_id))
    away.close()
    assert files_with_rows(spool_folder)

    UsageWriter(UsageLog(database), Spool(spool_folder)).close()

    assert kept(database, row) == ids
    assert [file.name for file in spool_folder.iterdir()] == ["lock"]


def test_a_database_that_is_away_through_two_servers_loses_nothing(database, row, spool_folder):
    for request_id in ("r1", "r2"):
        log = FailingLog(database, float("inf"))
        writer = UsageWriter(log, Spool(spool_folder), retry_s=NEVER_S)
        writer.put(replace(row, request_id=request_id))
        writer.close()

    UsageWriter(UsageLog(database), Spool(spool_folder)).close()

    assert kept(database, row) == ["r1", "r2"]


def test_a_row_is_in_a_file_before_put_returns_and_gone_when_the_database_has_it(
    database, row, spool_folder
):
    log = FailingLog(database, n_failures=1)
    writer = UsageWriter(log, Spool(spool_folder), retry_s=0.3)

    writer.put(row)

    (file,) = files_with_rows(spool_folder)
    assert file.stat().st_mode & 0o777 == 0o600
    assert b'"request_id": "r1"' in file.read_bytes()
    wait_until(lambda: kept(database, row) == ["r1"])
    wait_until(lambda: not files_with_rows(spool_folder))
    writer.close()


def test_files_of_a_living_server_are_left_alone(database, row, spool_folder):
    log = FailingLog(database, float("inf"))
    living = UsageWriter(log, Spool(spool_folder), retry_s=NEVER_S)
    living.put(row)
    assert log.tried.wait(10)

    UsageWriter(UsageLog(database), Spool(spool_folder)).close()

    assert kept(database, row) == []
    living.close()


def test_half_a_line_is_set_aside_and_keeps_no_row_back(database, row, spool_folder):
    away = UsageWriter(FailingLog(database, float("inf")), Spool(spool_folder), retry_s=NEVER_S)
    away.put(row)
    away.close()
    (file,) = files_with_rows(spool_folder)
    with file.open("ab") as torn:
        torn.write(b'{"request_id": "r2", "acc')

    UsageWriter(UsageLog(database), Spool(spool_folder)).close()

    assert kept(database, row) == ["r1"]
    assert (spool_folder / "set-aside").read_bytes() == b'{"request_id": "r2", "acc\n'


def test_a_row_that_can_never_be_written_is_set_aside(database, row, spool_folder):
    writer = UsageWriter(UsageLog(database), Spool(spool_folder))
    writer.put(replace(row, request_id="r0", account_id="0" * 32))

    writer.close()

    assert b'"request_id": "r0"' in (spool_folder / "set-aside").read_bytes()
    assert not files_with_rows(spool_folder)


def test_a_full_disk_keeps_rows_in_memory_until_the_database_has_them(
    database, row, spool_folder, monkeypatch
):
    writer = UsageWriter(UsageLog(database), Spool(spool_folder))

    def fail(_descriptor, _line):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("sirocco.store.spool.os.write", fail)
        writer.put(row)
    writer.close()

    assert kept(database, row) == ["r1"]
    assert writer.is_safe


def test_a_row_that_is_in_memory_alone_is_told_of_until_it_is_written(
    database, row, spool_folder, monkeypatch
):
    log = FailingLog(database, n_failures=1)
    writer = UsageWriter(log, Spool(spool_folder), retry_s=0.05)
    assert writer.is_safe

    def fail(_descriptor, _line):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("sirocco.store.spool.os.write", fail)
        patched.setattr(log, "n_failures", float("inf"))
        writer.put(row)
        assert not writer.is_safe
    log.n_failures = 0

    wait_until(lambda: writer.is_safe)
    assert kept(database, row) == ["r1"]
    writer.close()


def test_a_folder_that_cannot_be_had_is_a_setup_error(tmp_path):
    (tmp_path / "spool").write_text("a file")

    with pytest.raises(ConfigError, match="spool: "):
        Spool(tmp_path / "spool")
