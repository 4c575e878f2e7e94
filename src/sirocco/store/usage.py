"""What each request used. It knows no prices."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError

from sirocco.store.budgets import release
from sirocco.store.daily_usage import DayUse, add_to_days
from sirocco.store.db import Database
from sirocco.store.tables import usage
from sirocco.store.values import require_zone
from sirocco.types import FinishReason

_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one request used, whether its answer came to its end or not.

    Attributes:
        request_id: at most 36 characters, as a UUID has.
        api_token_id: None if the request came without one.
        cached_tokens: the part of prompt_tokens that was not computed.
        ttft_s: None if the answer ended before its first token.
        neurons: what it cost.
    """

    request_id: str
    account_id: str
    api_token_id: str | None
    model_id: str
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    finish_reason: FinishReason
    started_at: datetime
    ttft_s: float | None
    duration_s: float
    neurons: float = 0.0


class UsageLog:
    """The usage in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, *rows: UsageRow) -> None:
        """Keep all of these rows or none; one whose request_id is there already changes nothing.

        What was reserved for these requests is given back in the same moment.
        """
        once = {row.request_id: row for row in reversed(rows)}  # the first of each
        with self._database.begin() as connection:
            for part in _parts(list(once.values())):
                _record(connection, part)

    def of_account(self, account_id: str, *, since: datetime | None = None) -> list[UsageRow]:
        """Return what the account used, the oldest first; all of it, or from `since` on.

        Raises: InvalidInput if `since` has no time zone.
        """
        query = select(usage).where(usage.c.account_id == account_id)
        if require_zone("since", since) is not None:
            query = query.where(usage.c.started_at >= since)
        query = query.order_by(usage.c.started_at, usage.c.request_id)
        with self._database.connect() as connection:
            return [_row(row) for row in connection.execute(query)]


def is_fault_of_row(error: Exception) -> bool:
    """Tell whether a row broke a rule of the database, which will not take it tomorrow either."""
    return isinstance(error, IntegrityError | DataError)


def _record(connection: Connection, rows: Sequence[UsageRow]) -> None:
    statement = insert_once(usage, connection.dialect.name).returning(usage.c.request_id)
    fresh = set(connection.scalars(statement, [asdict(row) for row in rows]))
    add_to_days(connection, [_day_use(row) for row in rows if row.request_id in fresh])
    release(connection, [row.request_id for row in rows])


def _day_use(row: UsageRow) -> DayUse:
    return DayUse(
        account_id=row.account_id,
        day=row.started_at.astimezone(UTC).date(),
        tokens=row.prompt_tokens + row.output_tokens,
        micro_neurons=round(row.neurons * 1_000_000),
    )


def _parts(rows: Sequence[UsageRow]) -> Iterator[Sequence[UsageRow]]:
    """Cut rows to statements of a size that every database takes."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]


def insert_once(table: Table, dialect_name: str) -> sqlite.Insert | postgresql.Insert:
    """Start an INSERT that does nothing if the primary key is there already.

    SQLAlchemy has no such statement that serves every dialect.
    """
    insert = postgresql.insert if dialect_name == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key))


def _row(row: Row[Any]) -> UsageRow:
    values = dict(row._mapping)
    return UsageRow(**values | {"finish_reason": FinishReason(values["finish_reason"])})
