"""Accounts: who API tokens and usage belong to. They are never deleted."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import insert, select

from sirocco.store.db import Database
from sirocco.store.tables import accounts, utc_now
from sirocco.store.values import is_id, new_id, require_name


@dataclass(frozen=True, slots=True)
class Account:
    """One account; its id is 32 hex digits."""

    id: str
    name: str
    created_at: datetime


class Accounts:
    """The accounts in a database.

    Args:
        clock: gives the present moment, with its zone.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def create(self, name: str) -> Account:
        """Add an account with a new id; two accounts may have one name.

        Raises: InvalidInput unless the name has 1 to 100 characters, no control characters.
        """
        account = Account(id=new_id(), name=require_name(name), created_at=self._clock())
        with self._database.begin() as connection:
            connection.execute(insert(accounts).values(**asdict(account)))
        return account

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
