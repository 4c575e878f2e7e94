"""Batches: queued whole, run item by item by any server, kept for a while, and deleted.

A server claims an item before it runs it, and renews its claims; those of a server that died end
after a few seconds. So an item may be run twice, but it is done once: the first result stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from sirocco.errors import BatchesFull, InvalidInput, UnknownBatch
from sirocco.store.db import Database
from sirocco.store.tables import accounts, batch_items, batches, utc_now
from sirocco.store.values import new_id

LEASE_S = 10.0
"""Seconds that a claim lasts if it is not renewed: after them another server may run the item."""

_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What is to be queued.

    Attributes:
        batch_id: a UUID.
        items: the body of each request as JSON, and the caller's own name for it as JSON.
        digest: of the requests; with the same idempotency key it must be the same.
        idempotency_key: 1 to 255 characters; a batch that comes again is not queued again.
    """

    batch_id: str
    account_id: str
    api_token_id: str | None
    model_id: str
    items: Sequence[tuple[str, str | None]]
    digest: str
    idempotency_key: str | None = None

    @property
    def n_bytes(self) -> int:
        """Of all its requests; their JSON is ASCII."""
        return sum(len(inputs) for inputs, _ in self.items)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much of an account may wait.

    Attributes:
        most_waiting: requests.
        most_bytes: of these requests.
        keep_s: seconds that results are kept; and in which a batch has to be done.
    """

    most_waiting: int = 10_000
    most_bytes: int = 128 << 20
    keep_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Claim:
    """An item that this server may run.

    Attributes:
        inputs: its body as JSON.
        n_faults: engines that failed while they ran it.
        is_late: its batch should have been done by now.
    """

    batch_id: str
    position: int
    account_id: str
    api_token_id: str | None
    model_id: str
    inputs: str
    n_faults: int
    is_late: bool


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of an item.

    Attributes:
        text: JSON of its result, or of its errors.
    """

    is_success: bool
    text: str
    n_prompt_tokens: int = 0
    n_output_tokens: int = 0
    n_cached_tokens: int = 0
    neurons: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as its account sees it.

    Attributes:
        is_started: something of it was begun.
        done: position, the caller's own name, and result of each item, once all are done.
    """

    model_id: str
    is_started: bool
    is_finished: bool
    done: Sequence[tuple[int, str | None, ItemResult]] = field(default_factory=tuple)


class Batches:
    """The batches in a database, for one server.

    Args:
        clock: gives the present moment, with its zone.
    """

    def __init__(
        self, database: Database, limits: BatchLimits | None = None, *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:  # fmt: skip
        self._database = database
        self._limits = limits or BatchLimits()
        self._clock = clock
        self._owner = new_id()

    def submit(self, batch: NewBatch) -> str:
        """Queue a batch, or find the one that was queued with the same idempotency key.

        Returns: the id of either.
        Raises: InvalidInput if the key came with another batch; BatchesFull if too much of the
            account waits already.
        """
        with self._database.begin() as connection:
            # Submissions of an account come one after the other, on all servers.
            lock = select(accounts.c.id).where(accounts.c.id == batch.account_id)
            connection.execute(lock.with_for_update(key_share=True))
            known = self._known(connection, batch)
            if known is not None:
                return known
            self._require_room(connection, batch)
            _insert(connection, batch, self._clock())
        return batch.batch_id

    def state(self, batch_id: str, account_id: str) -> BatchState:
        """Tell how far a batch is. Raises: UnknownBatch if there is none, or it is another's."""
        with self._database.connect() as connection:
            query = select(batches).where(batches.c.id == batch_id)
            row = connection.execute(query.where(batches.c.account_id == account_id)).one_or_none()
            if row is None or self._is_over(row.finished_at):
                raise UnknownBatch(batch_id)
            is_finished = row.finished_at is not None
            done = _results(connection, batch_id) if is_finished else ()
        return BatchState(row.model_id, row.started_at is not None, is_finished, done)

    def waiting(self) -> list[tuple[str, str]]:
        """Return account and model of the batches that are not finished, the oldest first."""
        both = batches.c.account_id, batches.c.model_id
        query = select(*both).where(batches.c.finished_at.is_(None)).group_by(*both)
        with self._database.connect() as connection:
            rows = connection.execute(query.order_by(func.min(batches.c.created_at)))
            return [(account_id, model_id) for account_id, model_id in rows]

    def claim(self, account_id: str, model_id: str) -> Claim | None:
        """Take an account's next item for a model that nobody runs, the oldest batch's first."""
        now = self._clock()
        with self._database.begin() as connection:
            query = _next_item(account_id, model_id, now)
            query = query.with_for_update(skip_locked=True, of=batch_items)
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            mine = {"owner": self._owner, "lease_until": now + timedelta(seconds=LEASE_S)}
            item = _is_item(row.batch_id, row.position)
            connection.execute(update(batch_items).where(item).values(**mine))
            begun = update(batches).where(batches.c.id == row.batch_id)
            begun = begun.where(batches.c.started_at.is_(None))
            connection.execute(begun.values(started_at=now))
        values = dict(row._mapping)
        created_at: datetime = values.pop("created_at")
        return Claim(**values, is_late=created_at + self._kept <= now)

    def give_back(self, claim: Claim, *, is_fault: bool = False) -> None:
        """Let others run an item that this server did not finish.

        Args:
            is_fault: an engine failed while it ran it.
        """
        statement = update(batch_items).where(_is_item(claim.batch_id, claim.position))
        statement = statement.where(batch_items.c.owner == self._owner)
        faults = batch_items.c.n_faults + int(is_fault)
        with self._database.begin() as connection:
            connection.execute(statement.values(owner=None, lease_until=None, n_faults=faults))

    def renew(self) -> None:
        """Keep this server's claims."""
        until = self._clock() + timedelta(seconds=LEASE_S)
        statement = update(batch_items).where(
            batch_items.c.owner == self._owner, batch_items.c.is_done.is_(False)
        )
        with self._database.begin() as connection:
            connection.execute(statement.values(lease_until=until))

    def finish(self, claim: Claim, result: ItemResult) -> bool:
        """Keep an item's result; the one that comes first.

        Returns: whether the whole batch is finished by it.
        """
        with self._database.begin() as connection:
            # The batch first: of two servers that finish its last items one waits for the other.
            batch = batches.c.id == claim.batch_id
            connection.execute(select(batches.c.id).where(batch).with_for_update())
            if not _keep_result(connection, claim, result):
                return False
            done = update(batches).where(batch).values(n_done=batches.c.n_done + 1)
            connection.execute(done)
            all_done = update(batches).where(batch, batches.c.n_done == batches.c.n_items)
            ended = connection.execute(all_done.values(finished_at=self._clock()))
        return ended.rowcount == 1

    def delete_old(self) -> int:
        """Delete batches whose results were kept long enough; return how many."""
        old = batches.c.finished_at <= self._clock() - self._kept
        with self._database.begin() as connection:
            ids = list(connection.scalars(select(batches.c.id).where(old).limit(_ROWS_AT_ONCE)))
            _delete(connection, ids)
        return len(ids)

    @property
    def _kept(self) -> timedelta:
        return timedelta(seconds=self._limits.keep_s)

    def _is_over(self, finished_at: datetime | None) -> bool:
        return finished_at is not None and finished_at <= self._clock() - self._kept

    def _known(self, connection: Connection, batch: NewBatch) -> str | None:
        """Find the batch that came with the same key. One that is over makes room for the new."""
        if batch.idempotency_key is None:
            return None
        query = select(batches).where(
            batches.c.account_id == batch.account_id,
            batches.c.idempotency_key == batch.idempotency_key,
        )
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        if self._is_over(row.finished_at):
            _delete(connection, [row.id])
            return None
        if (row.digest, row.model_id) != (batch.digest, batch.model_id):
            raise InvalidInput(
                f"'Idempotency-Key' {batch.idempotency_key!r} was used for another batch: "
                f"a new batch needs a new key"
            )
        return str(row.id)

    def _require_room(self, connection: Connection, batch: NewBatch) -> None:
        counts = func.sum(batches.c.n_items - batches.c.n_done), func.sum(batches.c.n_bytes)
        query = select(*counts).where(batches.c.account_id == batch.account_id)
        n_items, n_bytes = connection.execute(query.where(batches.c.finished_at.is_(None))).one()
        most = self._limits
        if int(n_items or 0) + len(batch.items) > most.most_waiting:
            raise BatchesFull(
                f"{n_items or 0} requests of the account wait in batches, and at most "
                f"{most.most_waiting} may: {len(batch.items)} more are too many"
            )
        if int(n_bytes or 0) + batch.n_bytes > most.most_bytes:
            raise BatchesFull(
                f"{n_bytes or 0} bytes of the account wait in batches, and at most "
                f"{most.most_bytes} may: {batch.n_bytes} more are too many"
            )


def _insert(connection: Connection, batch: NewBatch, now: datetime) -> None:
    values = {name: getattr(batch, name) for name in _SAME_NAMES}
    connection.execute(
        insert(batches).values(
            id=batch.batch_id, n_items=len(batch.items), n_done=0, created_at=now, **values
        )
    )
    rows = [
        {
            "batch_id": batch.batch_id, "position": position, "reference": reference,
            "inputs": inputs, "is_done": False, "n_faults": 0, "prompt_tokens": 0,
            "output_tokens": 0, "cached_tokens": 0, "neurons": 0.0,
        }
        for position, (inputs, reference) in enumerate(batch.items)
    ]  # fmt: skip
    connection.execute(insert(batch_items), rows)


_SAME_NAMES = ("account_id", "api_token_id", "model_id", "idempotency_key", "digest", "n_bytes")


def _next_item(account_id: str, model_id: str, now: datetime) -> Select[Any]:
    item, batch = batch_items.c, batches.c
    is_free = or_(item.lease_until.is_(None), item.lease_until <= now)
    columns = (item.batch_id, item.position, item.inputs, item.n_faults, batch.account_id,
               batch.api_token_id, batch.model_id, batch.created_at)  # fmt: skip
    query = select(*columns).join(batches, batch.id == item.batch_id)
    query = query.where(batch.account_id == account_id, batch.model_id == model_id)
    query = query.where(batch.finished_at.is_(None), item.is_done.is_(False), is_free)
    return query.order_by(batch.created_at, batch.id, item.position).limit(1)


def _delete(connection: Connection, ids: Sequence[str]) -> None:
    connection.execute(delete(batch_items).where(batch_items.c.batch_id.in_(ids)))
    connection.execute(delete(batches).where(batches.c.id.in_(ids)))


def _is_item(batch_id: str, position: int) -> ColumnElement[bool]:
    return and_(batch_items.c.batch_id == batch_id, batch_items.c.position == position)


def _keep_result(connection: Connection, claim: Claim, result: ItemResult) -> bool:
    statement = update(batch_items).where(
        _is_item(claim.batch_id, claim.position), batch_items.c.is_done.is_(False)
    )
    kept = connection.execute(
        statement.values(
            is_done=True, is_success=result.is_success, result=result.text, inputs="",
            owner=None, lease_until=None, prompt_tokens=result.n_prompt_tokens,
            output_tokens=result.n_output_tokens, cached_tokens=result.n_cached_tokens,
            neurons=result.neurons,
        )
    )  # fmt: skip
    return kept.rowcount == 1


def _results(connection: Connection, batch_id: str) -> list[tuple[int, str | None, ItemResult]]:
    query = select(batch_items).where(batch_items.c.batch_id == batch_id)
    rows = connection.execute(query.order_by(batch_items.c.position))
    return [
        (
            row.position,
            row.reference,
            ItemResult(
                row.is_success, row.result, row.prompt_tokens, row.output_tokens,
                row.cached_tokens, row.neurons,
            ),
        )
        for row in rows
    ]  # fmt: skip
