"""Accounts: who API tokens and usage belong to. They are never deleted."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from sirocco.errors import InvalidInput
from sirocco.store.db import Database
from sirocco.store.tables import accounts, utc_now
from sirocco.store.values import is_id, new_id, require_name, require_weight


@dataclass(frozen=True, slots=True)
class Account:
    """One account.

    Attributes:
        id: 32 hex digits.
        weight: its share of an engine beside other accounts; twice the weight, twice the tokens.
    """

    id: str
    name: str
    created_at: datetime
    weight: float = 1.0


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
            connection.execute(insert(accounts).values(**asdict(account)))
        return account

    def set_weight(self, account_id: str, weight: float) -> None:
        """Change an account's share; requests that come from now on have it.

        Raises: InvalidInput if there is no such account, or the weight is not in 0.01 … 100.
        """
        statement = update(accounts).where(accounts.c.id == account_id)
        with self._database.begin() as connection:
            result = connection.execute(statement.values(weight=require_weight(weight)))
        if result.rowcount != 1:
            raise InvalidInput(f"'/account_id' must be an existing account, got {account_id!r}")

    def find(self, account_id: str) -> Account | None:
        """Look an account up; the id may be any text that a caller sent."""
        if not is_id(account_id):
            return None
        with self._database.connect() as connection:
            query = select(accounts).where(accounts.c.id == account_id)
            row = connection.execute(query).one_or_none()
        return None if row is None else Account(**row._mapping)

    def all(self) -> list[Account]:
        """Return every account, the oldest first."""
        query = select(accounts).order_by(accounts.c.created_at, accounts.c.id)
        with self._database.connect() as connection:
            return [Account(**row._mapping) for row in connection.execute(query)]
