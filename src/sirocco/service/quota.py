"""How much an account may ask for: requests in a minute, and neurons or tokens in a day.

A request's worst cost is reserved before it runs; its usage row takes the place of the
reservation, also when it was aborted. So however many run at once, a budget is not overspent.
Accounts without a limit cost nothing here.
"""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, time, timedelta

import structlog

from sirocco.catalog.price import MICRO, Price
from sirocco.errors import DailyQuotaExceeded, RateLimited
from sirocco.service.access import Caller
from sirocco.service.rate import MinuteWindow
from sirocco.store.budgets import LEASE_S, Amount, Budgets
from sirocco.store.db import reason_of
from sirocco.store.limits import NO_OWN_LIMITS, Limits
from sirocco.store.tables import utc_now
from sirocco.types import SamplingParams

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorstCase:
    """What a request can use at most.

    Attributes:
        output_tokens: of all its answers together.
    """

    price: Price
    prompt_tokens: int
    output_tokens: int

    @property
    def amount(self) -> Amount:
        """The same as it is reserved."""
        return Amount(
            self.price.micro_neurons(self.prompt_tokens, self.output_tokens),
            self.prompt_tokens + self.output_tokens,
        )


def worst_case(
    price: Price, n_prompt_tokens: int, sampling: SamplingParams, limit_tokens: int
) -> WorstCase:
    """Tell what a request can use at most, where prompt and answer have `limit_tokens` together."""
    room = max(0, limit_tokens - n_prompt_tokens)
    return WorstCase(price, n_prompt_tokens, sampling.n * min(sampling.max_tokens, room))


class Quota:
    """Holds accounts to their limits; use it in one event loop, and close it.

    Args:
        defaults: limits of accounts that have none of their own.
        clock: gives the present moment, with its zone.
    """

    def __init__(
        self,
        budgets: Budgets,
        defaults: Limits = NO_OWN_LIMITS,
        *,
        clock: Callable[[], datetime] = utc_now,
        minute: MinuteWindow | None = None,
        renew_s: float = LEASE_S / 4,
    ) -> None:
        self._budgets = budgets
        self._defaults = defaults
        self._clock = clock
        self._minute = minute or MinuteWindow()
        # One thread, so that a release comes after the reservation that it takes back.
        self._ledger = ThreadPoolExecutor(1, "sirocco-quota")
        self._owed: set[str] = set()  # reservations to give back once the database answers
        self._closing = threading.Event()
        self._renewing = threading.Thread(
            target=self._renew, args=(renew_s,), name="sirocco-quota-renew", daemon=True
        )
        self._renewing.start()

    def admit(self, caller: Caller) -> None:
        """Count a request. Raises: RateLimited if too many came in the last minute."""
        limit = self._per_minute(caller)
        if limit:
            _refuse_if(self._minute.wait_s(caller.account_id, limit), limit)

    def check(self, caller: Caller) -> None:
        """Raise what `admit` would, and count nothing."""
        limit = self._per_minute(caller)
        if limit:
            _refuse_if(self._minute.would_wait_s(caller.account_id, limit), limit)

    @asynccontextmanager
    async def reserved(
        self, caller: Caller, request_id: str, worst: WorstCase
    ) -> AsyncIterator[None]:
        """Reserve the worst case; what is inside must lead to a usage row, `give_back`, or raise.

        When it raises, the reservation is given back. After it, the usage row does that.

        Raises: DailyQuotaExceeded if the worst case is more than what is left of the day.
        """
        limits = caller.limits.over(self._defaults)
        if not limits.has_budget:
            yield
            return
        try:
            await self._reserve(caller.account_id, request_id, worst, limits)
            yield
        except BaseException:  # a client that left while we reserved is one, too
            self._ledger.submit(self._release, request_id)
            raise

    def give_back(self, caller: Caller, request_id: str) -> None:
        """End the reservation of a request that got its place and was refused after all."""
        if caller.limits.over(self._defaults).has_budget:
            self._ledger.submit(self._release, request_id)

    def close(self) -> None:
        """Stop; what is reserved still counts until its usage row comes. It blocks."""
        self._closing.set()
        self._renewing.join()
        self._ledger.shutdown()

    def _per_minute(self, caller: Caller) -> int | None:
        own = caller.limits.per_minute
        return self._defaults.per_minute if own is None else own

    async def _reserve(
        self, account_id: str, request_id: str, worst: WorstCase, limits: Limits
    ) -> None:
        budget = Amount(round((limits.daily_neurons or 0) * MICRO), limits.daily_tokens or 0)
        used = await asyncio.get_running_loop().run_in_executor(
            self._ledger, self._budgets.reserve, account_id, request_id, worst.amount, budget
        )
        self._owed.discard(request_id)  # one that is begun anew reserves again
        if used is not None:
            raise _exceeded(used, worst.amount, budget, self._clock())

    def _release(self, request_id: str) -> None:
        self._owed.add(request_id)
        try:
            self._budgets.release(request_id)
            self._owed.discard(request_id)
        except Exception as error:  # it is tried again before the next renewal
            reason = reason_of(error)
            log.error("a reservation was not given back", request_id=request_id, reason=reason)  # noqa: TRY400

    def _renew(self, renew_s: float) -> None:
        while not self._closing.wait(renew_s):
            for request_id in self._owed.copy():
                self._release(request_id)
            try:
                self._budgets.renew()
            except Exception as error:
                log.error("reservations were not renewed", reason=reason_of(error))  # noqa: TRY400


def _refuse_if(wait_s: float, limit: int) -> None:
    if wait_s:
        text = f"more than {limit} requests in a minute"
        raise RateLimited(text, retry_after_s=math.ceil(wait_s))


def _exceeded(used: Amount, worst: Amount, budget: Amount, now: datetime) -> DailyQuotaExceeded:
    """Say which budget is too small, in the words that clients look for."""
    if Amount(micro_neurons=used.micro_neurons + worst.micro_neurons).exceeds(budget):
        micro = budget.micro_neurons, used.micro_neurons, worst.micro_neurons
        text = _told("neurons", *(round(amount / MICRO, 2) for amount in micro))
    else:
        text = _told("tokens", budget.tokens, used.tokens, worst.tokens)
    return DailyQuotaExceeded(text, retry_after_s=math.ceil(_until_midnight_s(now)))


def _told(unit: str, budget: float, used: float, worst: float) -> str:
    allocation = f"your daily free allocation of {budget:,.12g} {unit}"
    left = round(budget - used, 2)
    if left <= 0:
        return f"you have used up {allocation}; it is renewed at 00:00 UTC"
    return (
        f"{left:,.12g} {unit} are left of {allocation}, and this request may take "
        f"{worst:,.12g}: ask for fewer max_tokens, or after 00:00 UTC"
    )


def _until_midnight_s(now: datetime) -> float:
    midnight = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
    return (midnight - now).total_seconds()
