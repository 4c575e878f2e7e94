"""What is left of a day's budget: reserved before a request runs, settled when it is over.

A reservation is the worst that a request can cost. It goes in the same transaction in which the
request's usage row comes, so at every moment each request counts once. A server renews its
reservations; those of one that died count for two minutes more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, ScalarSelect, delete, func, insert, select, update

from sirocco.store.db import Database
from sirocco.store.tables import accounts, daily_usage, reservations, utc_now
from sirocco.store.values import new_id

LEASE_S = 120.0


@dataclass(frozen=True, slots=True)
class Amount:
    """What is used or may be used."""

    micro_neurons: int = 0
    tokens: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.micro_neurons + other.micro_neurons, self.tokens + other.tokens)

    def exceeds(self, budget: "Amount") -> bool:
        """Tell whether it is more than a budget, where 0 is no limit."""
        return (0 < budget.micro_neurons < self.micro_neurons) or 0 < budget.tokens < self.tokens


class Budgets:
    """The budgets in a database, for one server that reserves.

    Args:
        clock: gives the present moment, with its zone.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock
        self._owner = new_id()

    def reserve(
        self, account_id: str, request_id: str, worst: Amount, budget: Amount
    ) -> Amount | None:
        """Reserve the worst for a request, or reserve nothing.

        What was reserved before for the same request, by a server that died, is given back.

        Returns: None if it was reserved; else what is used and reserved already, which with the
            worst would exceed the budget.
        """
        now = self._clock()
        with self._database.begin() as connection:
            # Servers that share the database reserve for an account one after the other.
            lock = select(accounts.c.id).where(accounts.c.id == account_id)
            connection.execute(lock.with_for_update(key_share=True))
            release(connection, [request_id])
            used = _used(connection, account_id, now)
            if (used + worst).exceeds(budget):
                return used
            connection.execute(
                insert(reservations).values(
                    request_id=request_id,
                    account_id=account_id,
                    owner=self._owner,
                    tokens=worst.tokens,
                    micro_neurons=worst.micro_neurons,
                    expires_at=now + timedelta(seconds=LEASE_S),
                )
            )
        return None

    def release(self, request_id: str) -> None:
        """Give back what was reserved for a request that did not run; again does nothing."""
        with self._database.begin() as connection:
            release(connection, [request_id])

    def renew(self) -> None:
        """Keep this server's reservations alive, and forget those of servers that died."""
        now = self._clock()
        mine = update(reservations).where(reservations.c.owner == self._owner)
        with self._database.begin() as connection:
            connection.execute(mine.values(expires_at=now + timedelta(seconds=LEASE_S)))
            connection.execute(delete(reservations).where(reservations.c.expires_at <= now))

    def used(self, account_id: str) -> Amount:
        """Tell what the account used today, with what is reserved."""
        with self._database.connect() as connection:
            return _used(connection, account_id, self._clock())


def release(connection: Connection, request_ids: list[str]) -> None:
    """Take reservations away, in the transaction that settles them."""
    connection.execute(delete(reservations).where(reservations.c.request_id.in_(request_ids)))


def _used(connection: Connection, account_id: str, now: datetime) -> Amount:
    # One statement, so that it sees one moment: a request that is settled between two would
    # be in neither sum.
    sums = [
        total
        for name in ("micro_neurons", "tokens")
        for total in (_of_today(name, account_id, now), _reserved(name, account_id, now))
    ]
    row = connection.execute(select(*sums)).one()
    settled_neurons, reserved_neurons, settled_tokens, reserved_tokens = (int(v or 0) for v in row)
    return Amount(settled_neurons + reserved_neurons, settled_tokens + reserved_tokens)


def _of_today(name: str, account_id: str, now: datetime) -> "ScalarSelect[int]":
    table = daily_usage.c
    query = select(table[name]).where(table.account_id == account_id, table.day == now.date())
    return query.scalar_subquery()


def _reserved(name: str, account_id: str, now: datetime) -> "ScalarSelect[int]":
    table = reservations.c
    query = select(func.sum(table[name]))
    return query.where(table.account_id == account_id, table.expires_at > now).scalar_subquery()
