"""Usage rows reach the database in the end, and never keep a server from ending."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sirocco.service.usage_writer import UsageWriter
from sirocco.store.accounts import Accounts
from sirocco.store.db import Database
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


class FailingLog(UsageLog):
    """A usage log whose database is away: for a number of tries, or until it is let back."""

    def __init__(self, database: Database, n_failures: float) -> None:
        super().__init__(database)
        self.n_failures = n_failures
        self.tries: list[str] = []
        self.tried = threading.Event()

    def record(self, *rows: UsageRow) -> None:
        self.tries += [row.request_id for row in rows]
        fails = len(self.tries) <= self.n_failures
        self.tried.set()
        if fails:
            raise OSError("the database is away")
        super().record(*rows)


def wait_until(condition) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass in ten seconds"
        time.sleep(0.005)


def kept(database, row) -> list[str]:
    return [kept.request_id for kept in UsageLog(database).of_account(row.account_id)]


def test_a_row_is_written_without_waiting_for_the_end(database, row):
    writer = UsageWriter(UsageLog(database), retry_s=NEVER_S)

    writer.put(row)

    wait_until(lambda: kept(database, row) == ["r1"])
    writer.close()


def test_closing_writes_all_that_was_handed_over_in_its_order(database, row):
    log = FailingLog(database, n_failures=0)
    writer = UsageWriter(log, retry_s=NEVER_S)
    ids = [f"r{i}" for i in range(50)]
    for request_id in ids:
        writer.put(replace(row, request_id=request_id))

    writer.close()

    assert log.tries == ids
    assert sorted(kept(database, row)) == sorted(ids)


def test_rows_of_many_threads_are_all_written(database, row):
    writer = UsageWriter(UsageLog(database), retry_s=NEVER_S)
    rows = [[replace(row, request_id=f"{t}-{i}") for i in range(10)] for t in range(4)]
    threads = [threading.Thread(target=lambda m=mine: [*map(writer.put, m)]) for mine in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    writer.close()

    assert len(kept(database, row)) == 40


def test_a_row_that_fails_is_tried_again_until_it_is_written(database, row):
    log = FailingLog(database, n_failures=3)
    writer = UsageWriter(log, retry_s=0.01)

    writer.put(row)
    writer.put(replace(row, request_id="r2"))

    wait_until(lambda: kept(database, row) == ["r1", "r2"])
    writer.close()
    assert log.tries == ["r1", "r1", "r1", "r1", "r2"]


def test_a_row_that_was_written_but_seemed_to_fail_is_counted_once(database, row):
    class LosesItsAnswer(FailingLog):
        def record(self, *rows):
            UsageLog(database).record(*rows)
            super().record(*rows)

    writer = UsageWriter(LosesItsAnswer(database, n_failures=2), retry_s=0.01)

    writer.put(row)
    writer.close()

    assert kept(database, row) == ["r1"]


def test_a_row_that_failed_before_closing_gets_its_try_in_closing(database, row):
    """The database may be back by then: a restart of both is the usual reason for either."""
    log = FailingLog(database, n_failures=1)
    writer = UsageWriter(log, retry_s=NEVER_S)
    writer.put(row)
    assert log.tried.wait(10)

    writer.close()

    assert kept(database, row) == ["r1"]


def test_a_database_that_never_comes_back_does_not_hold_up_closing(database, row):
    log = FailingLog(database, n_failures=float("inf"))
    writer = UsageWriter(log, retry_s=NEVER_S)
    for request_id in ("r1", "r2", "r3"):
        writer.put(replace(row, request_id=request_id))
    assert log.tried.wait(10)
    started_s = time.monotonic()

    writer.close()

    assert time.monotonic() - started_s < NEVER_S / 2
    assert set(log.tries) == {"r1", "r2", "r3"}
    assert len(log.tries) <= 4  # r1 before closing and in it; the others once


def test_a_row_that_can_never_be_written_keeps_no_other_back_at_the_end(database, row):
    """A row of an account that is not there breaks a rule of the database each time."""
    writer = UsageWriter(UsageLog(database), retry_s=0.01)
    writer.put(replace(row, request_id="r0", account_id="0" * 32))
    writer.put(row)

    writer.close()

    assert kept(database, row) == ["r1"]


def test_closing_twice_is_closing_once(database, row):
    writer = UsageWriter(UsageLog(database))
    writer.put(row)

    writer.close()
    writer.close()

    assert kept(database, row) == ["r1"]


def test_closing_without_rows_ends_the_thread(database):
    before = threading.active_count()
    writer = UsageWriter(UsageLog(database))
    assert threading.active_count() == before + 1

    writer.close()

    assert threading.active_count() == before
