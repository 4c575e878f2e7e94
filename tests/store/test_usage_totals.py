"""Sums over usage are the sums of its rows."""

from datetime import UTC, datetime, timedelta

import pytest

from sirocco.errors import InvalidInput
from sirocco.store.accounts import Accounts
from sirocco.store.api_tokens import ApiTokens
from sirocco.store.usage import UsageLog, UsageRow
from sirocco.store.usage_totals import UsageTotal, UsageTotals
from sirocco.types import FinishReason

MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def account_id(database) -> str:
    return Accounts(database).create("Levante").id


@pytest.fixture
def token(database, account_id):
    return ApiTokens(database, b"p" * 32).create(account_id, name="laptop")[1]


@pytest.fixture
def totals(database, account_id, token) -> UsageTotals:
    """Five requests around a midnight, one of them of another account."""
    other = Accounts(database).create("Ponente").id
    rows = [
        usage_row(account_id, token.id, "a", -2),
        usage_row(account_id, token.id, "a", -1),
        usage_row(account_id, None, "b", 0),
        usage_row(account_id, token.id, "b", 1),
        usage_row(other, None, "a", 0),
    ]
    UsageLog(database).record(*rows)
    return UsageTotals(database)


def usage_row(account_id, token_id, model_id, seconds) -> UsageRow:
    return UsageRow(
        f"{account_id[:8]}{seconds}", account_id, token_id, f"@cf/x/{model_id}", 10, 3, 4,
        FinishReason.STOP, MIDNIGHT + timedelta(seconds=seconds), 0.1, 0.2, 0.1,
    )  # fmt: skip


def total(group, n, name=None) -> UsageTotal:
    return UsageTotal(group, name, n, 10 * n, 4 * n, 3 * n, round(0.1 * n, 6))


def test_by_day_in_utc(totals, account_id):
    assert totals.by("day", account_id=account_id) == [
        total("2026-01-01", 2),
        total("2026-01-02", 2),
    ]


def test_by_model(totals, account_id):
    assert totals.by("model", account_id=account_id) == [total("@cf/x/a", 2), total("@cf/x/b", 2)]


def test_by_token_with_its_name_and_visible_prefix(totals, account_id, token):
    assert totals.by("token", account_id=account_id) == [
        total("", 1),
        total(token.id, 3, f"laptop ({token.prefix}…)"),
    ]


def test_all_accounts_together(totals):
    assert totals.by("model") == [total("@cf/x/a", 3), total("@cf/x/b", 2)]


def test_from_a_moment_until_before_another(totals, account_id):
    found = totals.by(
        "day", account_id=account_id, since=MIDNIGHT - timedelta(seconds=1),
        until=MIDNIGHT + timedelta(seconds=1),
    )  # fmt: skip

    assert found == [total("2026-01-01", 1), total("2026-01-02", 1)]


def test_nothing_used_is_no_group(totals, account_id):
    assert totals.by("day", account_id=account_id, since=MIDNIGHT + timedelta(days=1)) == []


@pytest.mark.parametrize("by", ["", "account", "day; DROP TABLE usage"])
def test_an_unknown_group_is_refused(totals, by):
    with pytest.raises(InvalidInput, match="'/by' must be day, model or token, got"):
        totals.by(by)


def test_a_moment_without_a_zone_is_refused(totals):
    with pytest.raises(InvalidInput, match="'/until' must have a time zone"):
        totals.by("day", until=datetime(2026, 1, 1))
