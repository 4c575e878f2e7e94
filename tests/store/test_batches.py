"""Batches wait, are claimed item by item, and each item is done once, whatever servers do."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from sirocco.errors import BatchesFull, InvalidInput, UnknownBatch
from sirocco.store.accounts import Accounts
from sirocco.store.batches import (
    LEASE_S,
    Batches,
    BatchLimits,
    Claim,
    ItemResult,
    NewBatch,
)
from sirocco.store.values import new_id

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIMITS = BatchLimits(most_waiting=10, most_bytes=1000, keep_s=3600)
DONE = ItemResult(is_success=True, text='{"response":"x"}', n_prompt_tokens=3, n_output_tokens=4,
                  n_cached_tokens=1, neurons=0.5)  # fmt: skip
MODEL = "@cf/x/y"


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server_of(database, clock):
    """Make a server's view of the batches."""
    return lambda limits=LIMITS: Batches(database, limits, clock=clock)


@pytest.fixture
def batches(server_of) -> Batches:
    made: Batches = server_of()
    return made


@pytest.fixture
def account_id(database) -> str:
    return Accounts(database).create("Levante").id


@pytest.fixture
def batch_of(account_id):
    """Make a batch of some items."""

    def make(n_items=2, *, model_id=MODEL, key=None, account=None, digest="d" * 64):
        items = [(f'{{"prompt":"{i}"}}', json.dumps(f"mine {i}")) for i in range(n_items)]
        batch_id = f"{new_id()[:8]}-0000-0000-0000-000000000000"
        return NewBatch(batch_id, account or account_id, None, model_id, items, digest, key)

    return make


def run_all(batches, account_id, result=DONE):
    while (claim := batches.claim(account_id, MODEL)) is not None:
        batches.finish(claim, result)


def test_a_batch_is_queued_then_running_then_finished(batches, batch_of, account_id):
    batch_id = batches.submit(batch_of(2))
    states = [batches.state(batch_id, account_id)]

    first = batches.claim(account_id, MODEL)
    states.append(batches.state(batch_id, account_id))
    assert batches.finish(first, DONE) is False
    second = batches.claim(account_id, MODEL)
    assert batches.finish(second, replace(DONE, is_success=False, text="[]")) is True

    states.append(batches.state(batch_id, account_id))
    assert [(s.is_started, s.is_finished) for s in states] == [
        (False, False), (True, False), (True, True),
    ]  # fmt: skip
    assert [(c.position, c.inputs) for c in (first, second)] == [
        (0, '{"prompt":"0"}'), (1, '{"prompt":"1"}'),
    ]  # fmt: skip
    assert states[-1].done == [
        (0, '"mine 0"', DONE), (1, '"mine 1"', replace(DONE, is_success=False, text="[]")),
    ]  # fmt: skip
    assert batches.claim(account_id, MODEL) is None
    assert batches.waiting() == []


def test_another_accounts_batch_is_as_unknown_as_none(batches, batch_of, database):
    batch_id = batches.submit(batch_of())
    other = Accounts(database).create("Poniente").id

    for account, asked in ((other, batch_id), (other, "nothing"), (other, "x\x1fy" * 99)):
        with pytest.raises(UnknownBatch):
            batches.state(asked, account)


def test_the_same_key_and_batch_is_queued_once(batches, batch_of):
    first = batches.submit(batch_of(3, key="k"))

    assert batches.submit(batch_of(3, key="k")) == first
    assert batches.submit(batch_of(3, key="other")) != first
    assert batches.submit(batch_of(3)) != first


@pytest.mark.parametrize("change", [{"digest": "e" * 64}, {"model_id": "@cf/x/z"}])
def test_the_same_key_with_another_batch_is_refused_by_name(batches, batch_of, change):
    batches.submit(batch_of(key="k"))

    with pytest.raises(InvalidInput, match="'Idempotency-Key' 'k' was used for another batch"):
        batches.submit(batch_of(key="k", **change))


def test_a_key_is_an_accounts_own(batches, batch_of, database):
    other = Accounts(database).create("Poniente").id

    assert batches.submit(batch_of(key="k")) != batches.submit(batch_of(key="k", account=other))


def test_submissions_at_the_same_moment_with_one_key_queue_one_batch(server_of, batch_of):
    barrier = threading.Barrier(6)

    def submit(_):
        batches = server_of()
        barrier.wait()
        return batches.submit(batch_of(3, key="k"))

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(submit, range(6)))) == 1


def test_an_account_may_have_only_so_much_waiting(batches, batch_of, account_id, database):
    batches.submit(batch_of(6))
    with pytest.raises(BatchesFull, match="6 requests of the account wait in batches, and at most"):
        batches.submit(batch_of(5))
    batches.submit(batch_of(5, account=Accounts(database).create("Poniente").id))

    batches.finish(batches.claim(account_id, MODEL), DONE)

    batches.submit(batch_of(5))


def test_bytes_that_wait_are_limited_too(server_of, batch_of):
    batches = server_of(BatchLimits(most_bytes=40))
    batches.submit(batch_of(2))

    with pytest.raises(BatchesFull, match="28 bytes of the account wait"):
        batches.submit(batch_of(1))


def test_an_item_is_one_servers_until_its_claim_ends(server_of, batch_of, account_id, clock):
    mine, theirs = server_of(), server_of()
    batch_id = mine.submit(batch_of(1))
    dead = mine.claim(account_id, MODEL)
    assert theirs.claim(account_id, MODEL) is None

    clock.pass_s(LEASE_S - 1)
    mine.renew()
    clock.pass_s(LEASE_S - 1)
    assert theirs.claim(account_id, MODEL) is None
    clock.pass_s(1)
    again = theirs.claim(account_id, MODEL)

    assert (again.batch_id, again.position) == (dead.batch_id, dead.position)
    assert theirs.finish(again, DONE) is True
    assert mine.finish(dead, replace(DONE, text="late")) is False
    assert mine.state(batch_id, account_id).done[0][2] == DONE


def test_what_is_given_back_can_be_claimed_at_once_and_faults_are_counted(
    server_of, batch_of, account_id
):
    mine, theirs = server_of(), server_of()
    mine.submit(batch_of(1))

    mine.give_back(mine.claim(account_id, MODEL))
    claim = theirs.claim(account_id, MODEL)
    mine.give_back(claim)  # it is not mine
    assert mine.claim(account_id, MODEL) is None
    theirs.give_back(claim, is_fault=True)

    assert mine.claim(account_id, MODEL).n_faults == 1


def test_what_waits_is_told_with_its_account_and_model(batches, batch_of, database, clock):
    other = Accounts(database).create("Poniente").id
    for account, model_id in ((other, MODEL), (None, "@cf/x/z"), (other, MODEL), (None, MODEL)):
        batches.submit(batch_of(1, account=account, model_id=model_id))
        clock.pass_s(1)

    (first, *rest) = batches.waiting()

    assert first == (other, MODEL)
    assert len(rest) == 2
    assert batches.claim(other, "@cf/x/z") is None


def test_a_batch_that_took_too_long_is_late(batches, batch_of, account_id, clock):
    batches.submit(batch_of(2))
    assert batches.claim(account_id, MODEL).is_late is False

    clock.pass_s(LIMITS.keep_s)

    assert batches.claim(account_id, MODEL).is_late is True


def test_results_are_kept_for_a_time_and_deleted(batches, batch_of, account_id, clock, database):
    waiting = batches.submit(batch_of(1))
    batches.finish(batches.claim(account_id, MODEL), DONE)
    later = batches.submit(batch_of(1, key="k"))

    clock.pass_s(LIMITS.keep_s - 1)
    assert batches.state(waiting, account_id).is_finished
    assert batches.delete_old() == 0
    clock.pass_s(1)
    with pytest.raises(UnknownBatch):  # also if nobody deleted it yet
        batches.state(waiting, account_id)

    assert batches.delete_old() == 1
    assert batches.state(later, account_id).is_finished is False
    with database.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM batch_items")) == 1


def test_the_key_of_a_batch_that_is_over_may_be_used_again(batches, batch_of, account_id, clock):
    old = batches.submit(batch_of(1, key="k"))
    run_all(batches, account_id)
    clock.pass_s(LIMITS.keep_s)

    new = batches.submit(batch_of(1, key="k", digest="e" * 64))

    assert new != old
    assert batches.state(new, account_id).is_started is False


def test_bodies_are_not_kept_longer_than_they_are_needed(batches, batch_of, account_id, database):
    batches.submit(batch_of(2))
    run_all(batches, account_id)

    with database.connect() as connection:
        assert set(connection.scalars(text("SELECT inputs FROM batch_items"))) == {""}


def test_servers_at_the_same_time_do_every_item_once_and_one_ends_the_batch(
    server_of, batch_of, account_id
):
    batch_id = server_of().submit(batch_of(10))
    barrier = threading.Barrier(4)

    def work(number):
        batches, done, n_ends = server_of(), [], 0
        barrier.wait()
        for _ in range(40):
            claim = batches.claim(account_id, MODEL)
            if claim is not None:
                n_ends += batches.finish(claim, replace(DONE, text=str(number)))
                done.append(claim.position)
        return done, n_ends

    with ThreadPoolExecutor(4) as pool:
        worked = list(pool.map(work, range(4)))

    assert sorted(position for done, _ in worked for position in done) == list(range(10))
    assert sum(n_ends for _, n_ends in worked) == 1
    assert server_of().state(batch_id, account_id).is_finished


# --- any order of things ---


@dataclass
class Expected:
    """What the store should know of one item."""

    result: str | None = None
    owner: int | None = None
    until: datetime = NOON


@dataclass
class World:
    """Three servers, two batches, and what should be true of them."""

    servers: list[Batches]
    clock: Clock
    items: dict[tuple[str, int], Expected] = field(default_factory=dict)
    claims: dict[int, list[Claim]] = field(default_factory=lambda: {0: [], 1: [], 2: []})

    def claim(self, number: int, account_id: str) -> None:
        free = [
            key for key, item in self.items.items()
            if item.result is None and (item.owner is None or item.until <= self.clock.now)
        ]  # fmt: skip
        claim = self.servers[number].claim(account_id, MODEL)
        if not free:
            assert claim is None
            return
        assert claim is not None
        assert (claim.batch_id, claim.position) == free[0], "the oldest batch's first free item"
        item = self.items[free[0]]
        item.owner, item.until = number, self.clock.now + timedelta(seconds=LEASE_S)
        self.claims[number].append(claim)

    def finish(self, number: int, nth: int) -> None:
        if not self.claims[number]:
            return
        claim = self.claims[number].pop(nth % len(self.claims[number]))
        item = self.items[claim.batch_id, claim.position]
        wanted = f"by {number} at {self.clock.now}"
        is_last = self.servers[number].finish(claim, replace(DONE, text=wanted))
        was_done = item.result is not None
        item.result = item.result or wanted
        ended = all(i.result for (b, _), i in self.items.items() if b == claim.batch_id)
        assert is_last is (ended and not was_done)

    def give_back(self, number: int, nth: int) -> None:
        if not self.claims[number]:
            return
        claim = self.claims[number].pop(nth % len(self.claims[number]))
        self.servers[number].give_back(claim)
        item = self.items[claim.batch_id, claim.position]
        if item.owner == number:
            item.owner = None

    def renew(self, number: int) -> None:
        self.servers[number].renew()
        for item in self.items.values():
            if item.owner == number and item.result is None:
                item.until = self.clock.now + timedelta(seconds=LEASE_S)

    def die(self, number: int, server: Batches) -> None:
        """Forget everything, as after kill -9; what was claimed stays claimed for a while."""
        self.servers[number] = server
        self.claims[number] = []
        for item in self.items.values():
            if item.owner == number:
                item.owner = -1

    def check(self, account_id: str) -> None:
        for batch_id in {batch_id for batch_id, _ in self.items}:
            mine = [item for (b, _), item in self.items.items() if b == batch_id]
            state = self.servers[0].state(batch_id, account_id)
            assert state.is_finished is all(item.result for item in mine)
            if state.is_finished:
                assert [r.text for _, _, r in state.done] == [item.result for item in mine]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "claim", "finish", "give back", "renew", "die", "wait"]),
        st.integers(0, 2), st.integers(0, 9),
    ),
    max_size=40,
)  # fmt: skip


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_whatever_servers_do_and_suffer_an_item_is_done_once(
    server_of, batch_of, database, clock, steps
):
    account_id = Accounts(database).create("x").id
    world = World([server_of() for _ in range(3)], clock)
    for n_items in (3, 2):
        clock.pass_s(1)
        batch_id = world.servers[0].submit(batch_of(n_items, account=account_id))
        world.items |= {(batch_id, position): Expected() for position in range(n_items)}

    for kind, number, nth in steps:
        if kind == "claim":
            world.claim(number, account_id)
        elif kind == "finish":
            world.finish(number, nth)
        elif kind == "give back":
            world.give_back(number, nth)
        elif kind == "renew":
            world.renew(number)
        elif kind == "die":
            world.die(number, server_of())
        else:
            clock.pass_s(nth)
        world.check(account_id)

    clock.pass_s(LEASE_S)  # whoever is left does the rest
    while any(item.result is None for item in world.items.values()):
        world.claim(0, account_id)
        world.finish(0, -1)
        clock.pass_s(LEASE_S)
    world.check(account_id)
    assert (account_id, MODEL) not in world.servers[0].waiting()
