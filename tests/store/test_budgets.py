"""A budget is reserved by one request at a time, and every request counts once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from sirocco.errors import InvalidInput
from sirocco.store.accounts import Accounts
from sirocco.store.budgets import LEASE_S, Amount, Budgets
from sirocco.store.db import Database
from sirocco.store.limits import Limits
from sirocco.store.usage import UsageLog, UsageRow
from sirocco.types import FinishReason

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WORST = Amount(micro_neurons=100, tokens=10)
BUDGET = Amount(micro_neurons=1000)


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account_id(database) -> str:
    return Accounts(database).create("Levante").id


@pytest.fixture
def budgets(database, clock) -> Budgets:
    return Budgets(database, clock=clock)


def usage_row(account_id, request_id, *, tokens=3, neurons=30e-6, started_at=NOON) -> UsageRow:
    return UsageRow(
        request_id, account_id, None, "@cf/x/y", tokens, 0, 0, FinishReason.STOP,
        started_at, None, 1.0, neurons,
    )  # fmt: skip


def test_a_reservation_counts_until_the_row_takes_its_place(database, budgets, account_id):
    assert budgets.reserve(account_id, "r1", WORST, BUDGET) is None
    before = budgets.used(account_id)

    UsageLog(database).record(usage_row(account_id, "r1"))

    assert (before, budgets.used(account_id)) == (WORST, Amount(30, 3))


def test_what_was_released_counts_no_more(budgets, account_id):
    budgets.reserve(account_id, "r1", WORST, BUDGET)

    budgets.release("r1")
    budgets.release("r1")

    assert budgets.used(account_id) == Amount(0, 0)


@pytest.mark.parametrize("budget", [Amount(micro_neurons=250), Amount(tokens=25)])
def test_the_last_that_does_not_fit_reserves_nothing(budgets, account_id, budget):
    made = [budgets.reserve(account_id, f"r{i}", WORST, budget) for i in range(3)]

    assert made == [None, None, Amount(200, 20)]
    assert budgets.used(account_id) == Amount(200, 20)


def test_a_budget_can_be_used_to_its_last_part(budgets, account_id):
    assert budgets.reserve(account_id, "r1", Amount(1000, 10), BUDGET) is None
    assert budgets.reserve(account_id, "r2", Amount(1, 1), BUDGET) == Amount(1000, 10)


def test_accounts_have_budgets_of_their_own(database, budgets, account_id):
    other = Accounts(database).create("Ponente").id
    budgets.reserve(account_id, "r1", Amount(1000, 0), BUDGET)

    assert budgets.reserve(other, "r2", Amount(1000, 0), BUDGET) is None


def test_a_new_day_begins_at_midnight_utc(database, budgets, account_id, clock):
    UsageLog(database).record(usage_row(account_id, "r1"))
    clock.now = datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC)
    before = budgets.used(account_id)
    clock.now = datetime(2026, 1, 2, tzinfo=UTC)

    assert (before, budgets.used(account_id)) == (Amount(30, 3), Amount(0, 0))


def test_what_still_runs_at_midnight_is_reserved_on_the_new_day(budgets, account_id, clock):
    clock.now = datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC)
    budgets.reserve(account_id, "r1", WORST, BUDGET)

    clock.now = datetime(2026, 1, 2, tzinfo=UTC)

    assert budgets.used(account_id) == WORST


def test_reservations_of_a_server_that_died_end(database, budgets, account_id, clock):
    dead = Budgets(database, clock=clock)
    dead.reserve(account_id, "r1", WORST, BUDGET)
    budgets.reserve(account_id, "r2", WORST, BUDGET)

    clock.now += timedelta(seconds=LEASE_S / 2)
    budgets.renew()
    clock.now += timedelta(seconds=LEASE_S / 2)

    assert budgets.used(account_id) == WORST
    budgets.renew()
    with database.connect() as connection:
        assert connection.scalars(text("SELECT request_id FROM reservations")).all() == ["r2"]


@pytest.mark.parametrize("n_servers", [1, 2])
def test_a_hundred_requests_on_the_last_of_a_budget_overspend_nothing(
    database, database_url, account_id, n_servers
):
    """Scorecard row 9; two servers have databases, and so write locks, of their own."""
    others = [Database.open(database_url) for _ in range(n_servers - 1)]
    servers = [Budgets(each) for each in (database, *others)]
    now = datetime.now(UTC)
    UsageLog(database).record(usage_row(account_id, "before", neurons=400e-6, started_at=now))
    together = threading.Barrier(20, timeout=30)

    def ask(number: int) -> bool:
        if number < 20:
            together.wait()
        server = servers[number % n_servers]
        made = server.reserve(account_id, f"r{number}", WORST, BUDGET) is None
        if made and number % 2:  # half of them are over while others still ask, at full cost
            row = usage_row(account_id, f"r{number}", neurons=100e-6, started_at=now)
            UsageLog(database).record(row)
        return made

    with ThreadPoolExecutor(20) as pool:
        n_made = sum(pool.map(ask, range(100)))

    assert n_made == 6
    assert budgets_used(database, account_id) == 1000
    for other in others:
        other.close()


def budgets_used(database, account_id) -> int:
    return Budgets(database).used(account_id).micro_neurons


def test_the_days_are_the_sums_of_the_rows(database, account_id):
    log = UsageLog(database)
    rows = [
        usage_row(account_id, f"r{i}", started_at=NOON + timedelta(hours=i), neurons=i * 1e-6)
        for i in range(30)
    ]
    for part in (rows[:7], rows, rows[20:] + rows[:3], rows):  # again and again
        log.record(*part)

    with database.connect() as connection:
        days = connection.execute(
            text("SELECT requests, tokens, micro_neurons FROM daily_usage ORDER BY day")
        ).all()
    assert [tuple(day) for day in days] == [(12, 36, 66), (18, 54, 369)]


def test_a_request_twice_in_one_call_is_counted_once(database, budgets, account_id):
    row = usage_row(account_id, "r1")

    UsageLog(database).record(row, row)

    assert budgets.used(account_id) == Amount(30, 3)


def test_more_rows_than_a_statement_takes_are_kept(database, account_id):
    UsageLog(database).record(*(usage_row(account_id, f"r{i}") for i in range(1201)))

    assert len(UsageLog(database).of_account(account_id)) == 1201


def test_limits_of_an_account_come_back(database, account_id):
    accounts = Accounts(database)
    limits = Limits(daily_neurons=10_000.5, daily_tokens=0, per_minute=300)

    accounts.set_limits(account_id, limits)

    found = accounts.find(account_id)
    assert found is not None
    assert found.limits == limits


def test_an_accounts_limits_stand_before_the_settings():
    own = Limits(daily_neurons=0, daily_tokens=5)

    assert own.over(Limits(1.0, 2, 3)) == Limits(0, 5, 3)
    assert own.has_budget
    assert not Limits(daily_neurons=0, per_minute=4).has_budget


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 10**12 + 1])
def test_a_limit_out_of_its_range_is_refused(value):
    with pytest.raises(InvalidInput, match="'/daily_neurons' must be in 0 … 1000000000000, got"):
        Limits(daily_neurons=value)


def test_limits_of_no_account_cannot_be_changed(database):
    with pytest.raises(InvalidInput, match="must be an existing account"):
        Accounts(database).set_limits("0" * 32, Limits())


def test_a_request_that_is_begun_anew_takes_the_place_of_its_own_reservation(budgets, account_id):
    """The server that reserved for it has died, and another one begins it again."""
    assert budgets.reserve(account_id, "r1", WORST, WORST) is None

    assert budgets.reserve(account_id, "r1", WORST, WORST) is None

    assert budgets.used(account_id) == WORST
