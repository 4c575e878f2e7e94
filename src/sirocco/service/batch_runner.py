"""Runs what waits in batches, in the time that other requests leave.

An item is claimed, run, and its result kept. What is interrupted is given back: the next server
begins it anew under the same request id, under which its usage is counted once.
"""

import asyncio
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

import structlog

from sirocco.errors import EngineFault, LimitError, SiroccoError, TimedOut, WrongCredentials
from sirocco.service.access import Caller
from sirocco.service.answer import REDONE
from sirocco.service.service import Service
from sirocco.store.accounts import Accounts
from sirocco.store.batches import LEASE_S, Batches, Claim, ItemResult
from sirocco.store.db import reason_of

log = structlog.get_logger(__name__)

T = TypeVar("T")

_IDLE_S = 2.0
"""Between two looks for what other servers queued, or left behind."""
_BUSY_S = 0.25
"""Between two looks whether a busy model has time again."""
_RENEW_S = LEASE_S / 4
_DELETE_S = 60.0
_RETRY_S = 1.0
_MOST_FAULTS = 3
"""Engines that may fail while they run an item, before the item is taken for the cause."""
_LONGEST_BACKOFF_S = 30.0


class ItemAnswers(Protocol):
    """Turns the bodies of items into results; it knows their form, which nothing here does."""

    async def answered(self, caller: Caller, claim: Claim, request_id: str) -> ItemResult:
        """Run an item. Raises: SiroccoError."""

    def failed(self, error: SiroccoError, request_id: str) -> ItemResult:
        """Write an error as the result of an item."""


class BatchRunner:
    """Runs items of batches on this server; use it in one event loop, and close it.

    Args:
        n_places: items that run at once.
    """

    def __init__(
        self, service: Service, batches: Batches, accounts: Accounts, answers: ItemAnswers, *,
        n_places: int,
    ) -> None:  # fmt: skip
        self._service = service
        self._batches = batches
        self._accounts = accounts
        self._answers = answers
        self._n_places = n_places
        # One thread, so that what is written of an item is written in order.
        self._database = ThreadPoolExecutor(1, "sirocco-batches")
        self._running: set[asyncio.Task[None]] = set()
        self._standing: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()
        self._has_busy_model = False
        self._not_before_s: dict[str, float] = {}  # model id → when to try again
        self._turns: dict[str, int] = {}  # account → number of its last turn
        self._n_turns = 0

    @property
    def n_running(self) -> int:
        """Items that run now."""
        return len(self._running)

    def start(self) -> None:
        """Begin to look for work."""
        if self._n_places:
            self._standing.append(asyncio.create_task(self._work()))
        self._standing.append(asyncio.create_task(self._keep_claims()))
        self._standing.append(asyncio.create_task(self._delete_old()))

    def wake(self) -> None:
        """Look for work now."""
        self._woken.set()

    async def aclose(self) -> None:
        """Stop; what runs is broken off, and left to the next server. Again does nothing."""
        standing, self._standing = self._standing, []
        tasks = [*standing, *self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._database.shutdown)

    async def _work(self) -> None:
        """Fill free places for ever. This is a task."""
        while True:
            self._woken.clear()
            pause_s = _IDLE_S
            try:
                await self._fill()
                pause_s = _BUSY_S if self._has_busy_model else _IDLE_S
            except Exception as error:  # the database is away; it is asked again
                log.error("batches were not looked at", reason=reason_of(error))  # noqa: TRY400
            # Not `wait_for`: until Python 3.12 it forgets a cancellation that comes with a waking.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()

    async def _fill(self) -> None:
        """Begin items until all places are taken, or nothing can be begun."""
        while len(self._running) < self._n_places:
            claim = await self._next_claim()
            if claim is None:
                return
            task = asyncio.create_task(self._run(claim))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._woken.set()

    async def _next_claim(self) -> Claim | None:
        """Claim an item of the account whose last turn is longest ago, for a model with time."""
        waiting = await self._in_database(self._batches.waiting)
        with_time = [(a, m) for a, m in waiting if not self._is_busy(m)]
        self._has_busy_model = len(with_time) < len(waiting)
        with_time.sort(key=lambda pair: self._turns.get(pair[0], 0))
        for account_id, model_id in with_time:
            claim = await self._in_database(partial(self._batches.claim, account_id, model_id))
            if claim is not None:
                self._n_turns += 1
                self._turns[account_id] = self._n_turns
                return claim
        return None

    def _is_busy(self, model_id: str) -> bool:
        if asyncio.get_running_loop().time() < self._not_before_s.get(model_id, 0.0):
            return True
        return self._service.is_busy(model_id)

    async def _run(self, claim: Claim) -> None:
        """Run an item, and keep its result or give it back. This is a task."""
        request_id = item_request_id(claim.batch_id, claim.position)
        try:
            result = await self._result(claim, request_id)
        except REDONE as error:
            self._back_off(claim.model_id, error)
            await self._give_back(claim, is_fault=isinstance(error, EngineFault))
        except asyncio.CancelledError:
            await self._give_back(claim)
            raise
        else:
            await self._finish(claim, result)

    async def _result(self, claim: Claim, request_id: str) -> ItemResult:
        """Run an item. Raises: one of REDONE if another try may go well."""
        if claim.is_late:
            late = TimedOut("the batch was not done in the time that it had")
            return self._answers.failed(late, request_id)
        try:
            caller = await self._in_database(lambda: self._caller(claim))
            return await self._answers.answered(caller, claim, request_id)
        except REDONE as error:
            if not isinstance(error, EngineFault) or claim.n_faults + 1 < _MOST_FAULTS:
                raise
            return self._answers.failed(error, request_id)
        except SiroccoError as error:
            return self._answers.failed(error, request_id)
        except Exception as error:
            log.exception("an item of a batch failed", request_id=request_id)
            return self._answers.failed(SiroccoError(repr(error)), request_id)

    def _caller(self, claim: Claim) -> Caller:
        """Return the account as it is now, with its limits of today."""
        account = self._accounts.find(claim.account_id)
        if account is None:
            raise WrongCredentials("the account is gone")
        return Caller(account.id, claim.api_token_id or "", account.weight, account.limits)

    def _back_off(self, model_id: str, error: SiroccoError) -> None:
        wait_s = error.retry_after_s if isinstance(error, LimitError) else _RETRY_S
        until_s = asyncio.get_running_loop().time() + min(wait_s, _LONGEST_BACKOFF_S)
        self._not_before_s[model_id] = until_s

    async def _give_back(self, claim: Claim, *, is_fault: bool = False) -> None:
        """Let an item be claimed again; if the database is away, its claim ends by itself."""
        try:
            await self._in_database(lambda: self._batches.give_back(claim, is_fault=is_fault))
        except Exception as error:
            log.error("an item of a batch was not given back", reason=reason_of(error))  # noqa: TRY400

    async def _finish(self, claim: Claim, result: ItemResult) -> None:
        """Keep a result, however long the database is away."""
        while True:
            try:
                is_last = await self._in_database(lambda: self._batches.finish(claim, result))
            except Exception as error:
                log.error("a result of a batch was not written", reason=reason_of(error))  # noqa: TRY400
                await asyncio.sleep(_RETRY_S)
                continue
            if is_last:
                log.info("batch finished", request_id=claim.batch_id, model_id=claim.model_id)
            return

    async def _keep_claims(self) -> None:
        """Renew the claims of what runs. This is a task."""
        while True:
            await asyncio.sleep(_RENEW_S)
            if self._running:
                await self._tried(self._batches.renew, "claims of batches were not renewed")

    async def _delete_old(self) -> None:
        """Delete results that were kept long enough. This is a task."""
        while True:
            await self._tried(self._batches.delete_old, "old batches were not deleted")
            await asyncio.sleep(_DELETE_S)

    async def _tried(self, work: Callable[[], object], failure: str) -> None:
        try:
            await self._in_database(work)
        except Exception as error:
            log.error(failure, reason=reason_of(error))  # noqa: TRY400

    async def _in_database(self, work: Callable[[], T]) -> T:
        """Do something in the thread of the database; it is done even if nobody waits for it."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._database, work))


def item_request_id(batch_id: str, position: int) -> str:
    """Name the request that an item is, the same each time that it is run."""
    return str(uuid.uuid5(uuid.UUID(batch_id), str(position)))
