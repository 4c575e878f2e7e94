"""Limits of accounts: exact in every minute and on every day, whoever comes at once."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sirocco.catalog.price import Price
from sirocco.errors import DailyQuotaExceeded, RateLimited
from sirocco.service.access import Caller
from sirocco.service.quota import Quota, WorstCase
from sirocco.service.rate import MinuteWindow
from sirocco.store.accounts import Accounts
from sirocco.store.budgets import Amount, Budgets
from sirocco.store.limits import Limits
from sirocco.store.usage import UsageLog, UsageRow
from sirocco.types import FinishReason

PRICE = Price(10_000, 17_300)
WORST = WorstCase(PRICE, 100, 200)
"""4.46 neurons, 300 tokens."""


@pytest.fixture
def account_id(database) -> str:
    return Accounts(database).create("Levante").id


@pytest.fixture
def quota(database):
    quota = Quota(Budgets(database))
    yield quota
    quota.close()


def caller(account_id: str, **limits) -> Caller:
    return Caller(account_id, "t" * 32, limits=Limits(**limits))


def used(database, account_id) -> Amount:
    return Budgets(database).used(account_id)


async def run(quota, caller, request_id, worst=WORST) -> bool:
    """Reserve, and tell whether that went well."""
    try:
        async with quota.reserved(caller, request_id, worst):
            await asyncio.sleep(0)
    except DailyQuotaExceeded:
        return False
    return True


# --- in a minute ---


def test_in_no_minute_more_than_the_limit_are_let_in():
    now = [0.0]
    window = MinuteWindow(lambda: now[0])
    let_in = []
    for now[0] in (quarter / 4 for quarter in range(600)):
        if window.wait_s("a", 7) == 0:
            let_in.append(now[0])

    assert all(b - a >= 60 for a, b in zip(let_in, let_in[7:], strict=False))
    assert len(let_in) == 3 * 7


def test_the_wait_that_is_told_is_enough_and_no_more_than_needed():
    now = [0.0]
    window = MinuteWindow(lambda: now[0])
    for now[0] in (0.0, 1.0, 2.5):
        window.wait_s("a", 3)

    assert window.wait_s("a", 3) == pytest.approx(57.5)
    assert window.wait_s("a", 1) == pytest.approx(60)  # the limit was lowered
    now[0] = 60.0
    assert window.wait_s("a", 3) == 0


def test_accounts_are_counted_apart():
    window = MinuteWindow(lambda: 0.0)

    assert [window.wait_s(account, 1) for account in "aabb"] == [0, 60, 0, 60]


def test_too_many_in_a_minute_are_told_when_to_come_back(database, account_id):
    now = [0.0]
    quota = Quota(Budgets(database), minute=MinuteWindow(lambda: now[0]))
    someone = caller(account_id, per_minute=2)
    quota.admit(someone)
    quota.admit(someone)
    now[0] = 20.0

    with pytest.raises(RateLimited) as refused:
        quota.admit(someone)

    assert refused.value.retry_after_s == 40
    quota.close()


def test_a_look_at_the_minute_counts_nothing(database, account_id):
    quota = Quota(Budgets(database), minute=MinuteWindow(lambda: 0.0))
    someone = caller(account_id, per_minute=1)
    for _ in range(3):
        quota.check(someone)
    quota.admit(someone)

    with pytest.raises(RateLimited):
        quota.check(someone)

    quota.check(caller(account_id, per_minute=0))
    quota.close()


def test_without_a_limit_all_are_let_in(quota, account_id):
    for _ in range(1000):
        quota.admit(caller(account_id))
        quota.admit(caller(account_id, per_minute=0))


# --- in a day ---


def test_a_hundred_at_once_on_the_last_of_a_budget_overspend_nothing(quota, database, account_id):
    """Scorecard row 9: 44.6 neurons are ten times the worst case, to the last digit."""
    someone = caller(account_id, daily_neurons=44.6)

    async def all_at_once():
        return await asyncio.gather(*(run(quota, someone, f"r{i}") for i in range(100)))

    assert sum(asyncio.run(all_at_once())) == 10
    assert used(database, account_id) == Amount(44_600_000, 3000)


def test_what_raised_is_given_back(quota, database, account_id):
    someone = caller(account_id, daily_tokens=1000)

    async def fail():
        async with quota.reserved(someone, "r1", WORST):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        asyncio.run(fail())

    quota.close()
    assert used(database, account_id) == Amount(0, 0)


def test_a_client_that_leaves_while_it_is_reserved_for_leaves_nothing(database, account_id):
    """The thread goes on with the reservation, whatever its caller does."""

    class Slow(Budgets):
        def reserve(self, *args):
            asyncio.run(asyncio.sleep(0.1))
            return super().reserve(*args)

    quota = Quota(Slow(database))
    someone = caller(account_id, daily_tokens=1000)

    async def leave():
        running = asyncio.create_task(run(quota, someone, "r1"))
        await asyncio.sleep(0.03)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(leave())

    quota.close()
    assert used(database, account_id) == Amount(0, 0)


def test_the_row_settles_the_real_amount(quota, database, account_id):
    someone = caller(account_id, daily_tokens=400)
    assert asyncio.run(run(quota, someone, "r1"))
    assert not asyncio.run(run(quota, someone, "r2"))

    UsageLog(database).record(UsageRow(
        "r1", account_id, None, "@cf/x/y", 60, 40, 0, FinishReason.ABORT, datetime.now(UTC),
        None, 1.0, PRICE.neurons(60, 40),
    ))  # fmt: skip

    assert asyncio.run(run(quota, someone, "r3"))
    assert used(database, account_id).tokens == 400


@pytest.mark.parametrize(
    ("limits", "n_before", "text"),
    [
        ({"daily_neurons": 8.92}, 2,
         "you have used up your daily free allocation of 8.92 neurons; it is renewed at 00:00 UTC"),
        ({"daily_tokens": 12_000}, 40,
         "you have used up your daily free allocation of 12,000 tokens; it is renewed at 00:00"),
        ({"daily_neurons": 5}, 1,
         "0.54 neurons are left of your daily free allocation of 5 neurons, and this request may "
         "take 4.46: ask for fewer max_tokens, or after 00:00 UTC"),
        ({"daily_neurons": 1000, "daily_tokens": 299}, 0,
         "299 tokens are left of your daily free allocation of 299 tokens, and this request may"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_left_and_when_there_is_more(
    database, account_id, limits, n_before, text
):
    now = datetime(2026, 1, 1, 22, 30, tzinfo=UTC)
    quota = Quota(Budgets(database, clock=lambda: now), clock=lambda: now)

    async def too_much():
        for number in range(n_before):
            assert await run(quota, caller(account_id, **limits), f"r{number}")
        async with quota.reserved(caller(account_id, **limits), "last", WORST):
            pass

    with pytest.raises(DailyQuotaExceeded) as refused:
        asyncio.run(too_much())

    assert str(refused.value).startswith(text)
    assert refused.value.retry_after_s == timedelta(hours=1, minutes=30).total_seconds()
    quota.close()


def test_settings_hold_for_accounts_without_limits_of_their_own(database, account_id):
    quota = Quota(Budgets(database), Limits(daily_tokens=299, per_minute=1))

    assert not asyncio.run(run(quota, caller(account_id), "r1"))
    assert asyncio.run(run(quota, caller(account_id, daily_tokens=0), "r2"))
    quota.admit(caller(account_id))
    with pytest.raises(RateLimited):
        quota.admit(caller(account_id))
    quota.close()


def test_an_account_without_a_budget_asks_no_database(account_id, quota, database):
    database.close()

    def refuse(*_):
        raise AssertionError

    quota._budgets.reserve = refuse

    assert asyncio.run(run(quota, caller(account_id, per_minute=5), "r1"))


def test_reservations_are_renewed_while_the_server_lives(database, account_id):
    class Counting(Budgets):
        n_renewals = 0

        def renew(self):
            type(self).n_renewals += 1
            if self.n_renewals == 1:
                raise OSError("the database is away")
            super().renew()

    quota = Quota(Counting(database), renew_s=0.01)
    assert asyncio.run(run(quota, caller(account_id, daily_tokens=1000), "r1"))
    asyncio.run(asyncio.sleep(0.2))

    quota.close()

    assert Counting.n_renewals > 1
    assert used(database, account_id).tokens == 300


def test_what_could_not_be_given_back_is_tried_again(database, account_id):
    class Away(Budgets):
        n_tries = 0

        def release(self, request_id):
            type(self).n_tries += 1
            if self.n_tries == 1:
                raise OSError("the database is away")
            super().release(request_id)

    quota = Quota(Away(database), renew_s=0.02)

    async def fail():
        async with quota.reserved(caller(account_id, daily_tokens=1000), "r1", WORST):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        asyncio.run(fail())
    asyncio.run(asyncio.sleep(0.3))

    quota.close()
    assert used(database, account_id) == Amount(0, 0)
