"""Usage is kept once per request, whatever is repeated."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import make_url

from sirocco.errors import InvalidInput
from sirocco.store.accounts import Accounts
from sirocco.store.api_tokens import ApiTokens
from sirocco.store.tables import usage
from sirocco.store.usage import UsageLog, UsageRow, insert_once
from sirocco.types import FinishReason

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def log(database) -> UsageLog:
    return UsageLog(database)


@pytest.fixture
def row(database) -> UsageRow:
    """The usage of one request, of an account that exists."""
    account = Accounts(database).create("Levante")
    _, token = ApiTokens(database, b"p" * 32).create(account.id, name="laptop")
    return UsageRow(
        request_id="r1",
        account_id=account.id,
        api_token_id=token.id,
        model_id="@cf/mistral/mistral-7b-instruct-v0.1",
        prompt_tokens=11,
        output_tokens=7,
        cached_tokens=4,
        finish_reason=FinishReason.LENGTH,
        started_at=NOON,
        ttft_s=0.25,
        duration_s=1.5,
    )


def test_a_row_comes_back_as_it_went_in(log, row):
    log.record(row)

    (kept,) = log.of_account(row.account_id)

    assert kept == row
    assert type(kept.finish_reason) is FinishReason


def test_a_request_without_token_and_answer_is_kept_too(log, row):
    row = replace(row, api_token_id=None, ttft_s=None, finish_reason=FinishReason.ABORT)

    log.record(row)

    assert log.of_account(row.account_id) == [row]


def test_a_row_has_the_columns_of_the_table():
    assert [field.name for field in fields(UsageRow)] == [column.name for column in usage.c]


def test_a_second_record_of_a_request_changes_nothing(log, row):
    log.record(row)

    log.record(replace(row, output_tokens=999, finish_reason=FinishReason.STOP))

    assert log.of_account(row.account_id) == [row]


def test_threads_that_record_one_request_at_once_leave_one_row(log, row):
    together = threading.Barrier(2, timeout=10)
    rows = [replace(row, output_tokens=1), replace(row, output_tokens=2)]

    def record(mine: UsageRow) -> None:
        together.wait()
        log.record(mine)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(record, rows))  # would raise what a thread raised

    kept = log.of_account(row.account_id)
    assert kept in ([rows[0]], [rows[1]])


def test_rows_come_oldest_first(log, row):
    rows = [
        replace(row, request_id=request_id, started_at=NOON + timedelta(hours=hours))
        for request_id, hours in (("a", 2), ("b", 0), ("c", 1))
    ]
    for unordered in rows:
        log.record(unordered)

    assert log.of_account(row.account_id) == [rows[1], rows[2], rows[0]]


def test_rows_since_a_moment_include_that_moment(log, row):
    before = replace(row, request_id="b", started_at=NOON - timedelta(microseconds=1))
    log.record(before)
    log.record(row)
    moment = NOON.astimezone(timezone(timedelta(hours=5)))  # the same, said elsewhere

    assert log.of_account(row.account_id, since=moment) == [row]
    assert log.of_account(row.account_id) == [before, row]


def test_a_moment_without_a_zone_is_refused(log, row):
    moment = datetime(2026, 1, 1)

    with pytest.raises(InvalidInput, match="'/since' must have a time zone, got 2026-01-01"):
        log.of_account(row.account_id, since=moment)


def test_an_account_sees_only_its_own_rows(database, log, row):
    foreign = replace(row, request_id="f", account_id=Accounts(database).create("Ponente").id)
    log.record(row)
    log.record(foreign)

    assert log.of_account(row.account_id) == [row]
    assert log.of_account(foreign.account_id) == [foreign]


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_every_dialect_says_that_a_conflict_does_nothing(name):
    dialect = make_url(f"{name}://").get_dialect()()

    statement = insert_once(usage, dialect.name).compile(dialect=dialect)

    assert dialect.name == name
    assert str(statement).endswith("ON CONFLICT (request_id) DO NOTHING")
