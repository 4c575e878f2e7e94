"""What each account used on each day (UTC): sums that are written with the rows they add up."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, Insert
from sqlalchemy.dialects import postgresql, sqlite

from sirocco.store.tables import daily_usage

_SUMS = ("requests", "tokens", "micro_neurons")


@dataclass(frozen=True, slots=True)
class DayUse:
    """What one request adds to a day of its account."""

    account_id: str
    day: date
    tokens: int
    micro_neurons: int


def add_to_days(connection: Connection, uses: Iterable[DayUse]) -> None:
    """Add requests that were not counted before; the caller's transaction holds their rows."""
    sums: dict[tuple[str, date], list[int]] = {}
    for use in uses:
        known = sums.setdefault((use.account_id, use.day), [0, 0, 0])
        added = 1, use.tokens, use.micro_neurons
        known[:] = [total + amount for total, amount in zip(known, added, strict=True)]
    statement = _upsert(connection.dialect.name)
    for (account_id, day), totals in sorted(sums.items()):  # one order: no deadlock of two servers
        values = dict(zip(_SUMS, totals, strict=True))
        connection.execute(statement, {"account_id": account_id, "day": day} | values)


def _upsert(dialect_name: str) -> Insert:
    insert = postgresql.insert if dialect_name == "postgresql" else sqlite.insert
    statement = insert(daily_usage)
    return statement.on_conflict_do_update(
        index_elements=["account_id", "day"],
        set_={name: daily_usage.c[name] + statement.excluded[name] for name in _SUMS},
    )
