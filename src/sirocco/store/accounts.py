"""Accounts: who API tokens and usage belong to. They are never deleted."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from sirocco.errors import InvalidInput
from sirocco.store.db import Database
from sirocco.store.limits import NO_OWN_LIMITS, Limits
from sirocco.store.tables import accounts, utc_now
from sirocco.store.values import is_id, new_id, require_name, require_weight


@dataclass(frozen=True, slots=True)
class Account:
    """One account.

    Attributes:
        id: 32 hex digits.
        weight: its share of an engine beside other accounts; twice the weight, twice the tokens.
        limits: how much it may use.
    """

    id: str
    name: str
    created_at: datetime
    weight: float = 1.0
    limits: Limits = NO_OWN_LIMITS


class Accounts:
    """The accounts in a database.

    Args:
        clock: gives the present moment, with its zone.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def create(self, name: str, *, weight: float = 1.0) -> Account:
        """Add an account with a new id; two accounts may have one name.

        Raises: InvalidInput unless the name has 1 to 100 characters, no control characters, and
            the weight is in 0.01 … 100.
        """
        account = Account(new_id(), require_name(name), self._clock(), require_weight(weight))
        with self._database.begin() as connection:
            connection.execute(insert(accounts).values(**_values(account)))
        return account

    def set_weight(self, account_id: str, weight: float) -> None:
        """Change an account's share; requests that come from now on have it.

        Raises: InvalidInput if there is no such account, or the weight is not in 0.01 … 100.
        """
        self._update(account_id, weight=require_weight(weight))

    def set_limits(self, account_id: str, limits: Limits) -> None:
        """Change an account's limits; requests that come from now on have them.

        Raises: InvalidInput if there is no such account.
        """
        self._update(account_id, **asdict(limits))

    def _update(self, account_id: str, **values: float | None) -> None:
        statement = update(accounts).where(accounts.c.id == account_id)
        with self._database.begin() as connection:
            result = connection.execute(statement.values(**values))
        if result.rowcount != 1:
            raise InvalidInput(f"'/account_id' must be an existing account, got {account_id!r}")

    def find(self, account_id: str) -> Account | None:
        """Look an account up; the id may be any text that a caller sent."""
        if not is_id(account_id):
            return None
        with self._database.connect() as connection:
            query = select(accounts).where(accounts.c.id == account_id)
            row = connection.execute(query).one_or_none()
        return None if row is None else _account(row)

    def all(self) -> list[Account]:
        """Return every account, the oldest first."""
        query = select(accounts).order_by(accounts.c.created_at, accounts.c.id)
        with self._database.connect() as connection:
            return [_account(row) for row in connection.execute(query)]


def _account(row: Row[Any]) -> Account:
    values = dict(row._mapping)
    limits = Limits(**{field.name: values.pop(field.name) for field in fields(Limits)})
    return Account(**values, limits=limits)


def _values(account: Account) -> dict[str, Any]:
    values = asdict(account)
    limits: dict[str, Any] = values.pop("limits")
    return values | limits
