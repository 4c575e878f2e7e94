"""Items of batches: whose turn it is, what is tried again, and what an end leaves behind."""

import asyncio
import uuid
from collections import deque

import pytest

from sirocco.errors import (
    Aborted,
    DatabaseAway,
    EngineFault,
    InvalidInput,
    OutOfCapacity,
    SiroccoError,
    Unavailable,
    UnknownModel,
)
from sirocco.service.access import Caller  # noqa: TC001
from sirocco.service.batch_runner import BatchRunner, item_request_id
from sirocco.store.accounts import Accounts
from sirocco.store.batches import Batches, ItemResult, NewBatch
from sirocco.store.limits import Limits

MODEL, OTHER_MODEL = "@cf/x/y", "@cf/x/z"


class Engines:
    """What the runner asks a service: whether models have time."""

    def __init__(self) -> None:
        self.busy: set[str] = set()

    def is_busy(self, model_id: str) -> bool:
        return model_id in self.busy


class Answers:
    """Answers items from a queue of outcomes, then well; it remembers what was asked."""

    def __init__(self, *outcomes: Exception) -> None:
        self.outcomes = deque(outcomes)
        self.asked: list[tuple[str, str]] = []
        self.callers: list[Caller] = []
        self.gate: asyncio.Event | None = None

    async def answered(self, caller, claim, request_id):
        self.asked.append((claim.account_id, claim.inputs))
        self.callers.append(caller)
        if self.gate is not None:
            await self.gate.wait()
        if self.outcomes:
            raise self.outcomes.popleft()
        return ItemResult(is_success=True, text=f'"{request_id}"')

    def failed(self, error: SiroccoError, request_id: str) -> ItemResult:
        return ItemResult(is_success=False, text=type(error).__name__)


@pytest.fixture
def accounts(database) -> Accounts:
    return Accounts(database)


@pytest.fixture
def queue(database, accounts):
    """Queue a batch of one account; give its id and the account's."""

    def submit(n_items=1, *, account_id=None, model_id=MODEL):
        account_id = account_id or accounts.create("x").id
        items = [(str(i), None) for i in range(n_items)]
        batch = NewBatch(str(uuid.uuid4()), account_id, None, model_id, items, "d")
        return Batches(database).submit(batch), account_id

    return submit


@pytest.fixture
def run(database, accounts):
    """Let a runner work until a condition holds, then end it."""

    def work(answers, until, *, n_places=2, engines=None, batches=None):
        async def scenario():
            runner = BatchRunner(
                engines or Engines(),  # type: ignore[arg-type]
                batches or Batches(database), accounts, answers, n_places=n_places,
            )  # fmt: skip
            runner.start()
            async with asyncio.timeout(60):
                while not until():
                    await asyncio.sleep(0.01)
            await runner.aclose()
            await runner.aclose()

        asyncio.run(scenario())

    return work


def finished(database, batch):
    """Tell the results of a batch, if it is finished."""
    state = Batches(database).state(*batch)
    return [(r.is_success, r.text) for _, _, r in state.done] if state.is_finished else None


def test_every_item_is_asked_for_under_an_id_of_its_own(database, queue, run):
    batch = queue(3)

    run(Answers(), lambda: finished(database, batch))

    ids = [item_request_id(batch[0], position) for position in range(3)]
    assert finished(database, batch) == [(True, f'"{id_}"') for id_ in ids]
    assert len(set(ids)) == 3
    assert item_request_id(batch[0], 0) == ids[0]


def test_an_item_runs_with_the_limits_that_the_account_has_then(database, accounts, queue, run):
    batch = queue()
    accounts.set_limits(batch[1], Limits(daily_tokens=7))
    answers = Answers()

    run(answers, lambda: finished(database, batch))

    (caller,) = answers.callers
    assert (caller.account_id, caller.limits.daily_tokens) == (batch[1], 7)


@pytest.mark.parametrize(
    "error",
    [OutOfCapacity("full"), Unavailable("starting"), DatabaseAway("away"), Aborted("stopping")],
)
def test_what_is_refused_for_now_is_tried_again_quietly(database, queue, run, error):
    batch = queue()
    answers = Answers(error, error)

    run(answers, lambda: finished(database, batch))

    assert [is_success for is_success, _ in finished(database, batch)] == [True]
    assert len(answers.asked) == 3


@pytest.mark.timeout(30)
def test_a_waking_in_the_moment_of_the_end_does_not_keep_it_from_ending(database, accounts):
    async def scenario():
        engines = Engines()
        runner = BatchRunner(
            engines,  # type: ignore[arg-type]
            Batches(database), accounts, Answers(), n_places=1,
        )  # fmt: skip
        runner.start()
        await asyncio.sleep(0.2)  # it has found nothing, and waits
        runner.wake()
        await runner.aclose()

    asyncio.run(scenario())


def test_an_item_that_engines_fail_on_is_given_up_after_the_third(database, queue, run):
    batch = queue()
    answers = Answers(*[EngineFault("it ended")] * 3)

    run(answers, lambda: finished(database, batch))

    assert finished(database, batch) == [(False, "EngineFault")]
    assert len(answers.asked) == 3


@pytest.mark.parametrize(
    ("error", "told"), [(InvalidInput("no"), "InvalidInput"), (ValueError("oh"), "SiroccoError")]
)
def test_any_other_failure_is_the_items_own(database, queue, run, error, told):
    batch = queue(2)

    run(Answers(error), lambda: finished(database, batch), n_places=1)

    (first, second) = finished(database, batch)
    assert first == (False, told)
    assert second[0] is True


def test_a_busy_model_keeps_no_place_from_another(database, queue, run):
    waits, goes_on = queue(3), queue(2, model_id=OTHER_MODEL)
    engines = Engines()
    engines.busy.add(MODEL)
    answers = Answers()

    run(answers, lambda: finished(database, goes_on), n_places=1, engines=engines)

    assert finished(database, waits) is None
    assert Batches(database).state(*waits).is_started is False
    assert {account for account, _ in answers.asked} == {goes_on[1]}


def test_a_model_that_is_gone_is_told_to_its_items(database, queue, run):
    batch = queue(model_id="@cf/gone")

    run(Answers(UnknownModel("@cf/gone")), lambda: finished(database, batch))

    assert finished(database, batch) == [(False, "UnknownModel")]


def test_accounts_take_turns(database, queue, run):
    large, small = queue(6), queue(2)
    answers = Answers()

    run(answers, lambda: finished(database, large), n_places=1)

    assert [account for account, _ in answers.asked[:4]] == [large[1], small[1]] * 2


def test_an_end_gives_back_what_runs_and_the_next_server_takes_it_at_once(database, queue, run):
    batch = queue(3)
    answers = Answers()

    async def hold():
        answers.gate = asyncio.Event()

    asyncio.run(hold())
    run(answers, lambda: len(answers.asked) == 2)

    claim = Batches(database).claim(batch[1], MODEL)
    assert claim is not None
    assert (claim.position, claim.n_faults) == (0, 0)


class AwayBatches(Batches):
    """A database that does not answer for a while."""

    n_faults = 0

    def waiting(self):
        self._fail_first(2)
        return super().waiting()

    def finish(self, claim, result):
        self._fail_first(4)
        return super().finish(claim, result)

    def _fail_first(self, n: int) -> None:
        if self.n_faults < n:
            self.n_faults += 1
            raise OSError("the database is away")


def test_a_database_that_was_away_costs_no_result(database, queue, run):
    batch = queue()
    answers, away = Answers(), AwayBatches(database)

    run(answers, lambda: finished(database, batch), batches=away)

    assert away.n_faults == 4
    assert len(answers.asked) == 1
    assert [is_success for is_success, _ in finished(database, batch)] == [True]


def test_a_server_without_places_leaves_batches_alone(database, queue, run):
    batch = queue()
    answers = Answers()

    deadline = iter(range(30))
    run(answers, lambda: next(deadline, None) is None, n_places=0)

    assert answers.asked == []
    assert Batches(database).state(*batch).is_started is False
