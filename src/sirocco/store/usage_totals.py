"""Usage added up: by day, by model or by API token."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select

from sirocco.errors import InvalidInput
from sirocco.store.db import Database
from sirocco.store.tables import api_tokens, usage
from sirocco.store.values import require_zone

Grouping = Literal["day", "model", "token"]
GROUPINGS: tuple[str, ...] = get_args(Grouping)


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """What the requests of one group used together.

    Attributes:
        group: a day in UTC as 2026-01-31, a model id, or an API token's id; empty for requests
            without one.
        name: of the API token, with its visible prefix; None for other groups.
    """

    group: str
    name: str | None
    requests: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    neurons: float


class UsageTotals:
    """The sums over the usage in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by(
        self,
        grouping: str,
        *,
        account_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[UsageTotal]:
        """Add up the requests that began in `since` ≤ moment < `until`, in order of the groups.

        Args:
            grouping: day, model or token.
            account_id: None adds up all accounts.

        Raises: InvalidInput if the grouping is unknown, or a moment has no time zone.
        """
        if grouping not in GROUPINGS:
            raise InvalidInput(f"'/by' must be day, model or token, got {grouping[:32]!r}")
        query = _query(_group(grouping, self._database.dialect_name))
        if account_id is not None:
            query = query.where(usage.c.account_id == account_id)
        if require_zone("since", since) is not None:
            query = query.where(usage.c.started_at >= since)
        if require_zone("until", until) is not None:
            query = query.where(usage.c.started_at < until)
        with self._database.connect() as connection:
            rows = connection.execute(query).all()
            names = _token_names(connection) if grouping == "token" else {}
        return [_total(row._mapping, names) for row in rows]


def _query(group: ColumnElement[str]) -> Select[Any]:
    sums = [
        func.coalesce(func.sum(usage.c[name]), 0).label(name)
        for name in ("prompt_tokens", "cached_tokens", "output_tokens", "neurons")
    ]
    count = func.count().label("requests")
    return select(group.label("group"), count, *sums).group_by(group).order_by(group)


def _group(grouping: str, dialect_name: str) -> ColumnElement[str]:
    if grouping == "model":
        return usage.c.model_id
    if grouping == "token":
        return func.coalesce(usage.c.api_token_id, "")
    if dialect_name == "postgresql":
        return func.to_char(func.timezone("UTC", usage.c.started_at), "YYYY-MM-DD")
    return func.substr(usage.c.started_at, 1, 10)  # SQLite keeps UTC as text


def _token_names(connection: Connection) -> dict[str, str]:
    query = select(api_tokens.c.id, api_tokens.c.name, api_tokens.c.prefix)
    return {row.id: f"{row.name} ({row.prefix}…)" for row in connection.execute(query)}


def _total(row: RowMapping, names: Mapping[str, str]) -> UsageTotal:
    return UsageTotal(
        group=row["group"],
        name=names.get(row["group"]),
        requests=int(row["requests"]),
        prompt_tokens=int(row["prompt_tokens"]),
        cached_tokens=int(row["cached_tokens"]),
        output_tokens=int(row["output_tokens"]),
        neurons=round(float(row["neurons"]), 6),
    )
