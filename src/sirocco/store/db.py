"""The database: how it is opened, and how work on it begins and ends."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Self

from sqlalchemy import URL, Connection, Engine, select
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sirocco.errors import ConfigError, DatabaseAway
from sirocco.store.address import parse_url, shown_url, without_secrets
from sirocco.store.migrate import upgrade
from sirocco.store.postgresql import lock_migration, postgresql_engine, postgresql_reader
from sirocco.store.sqlite import sqlite_advice, sqlite_engine, sqlite_writer


class Database:
    """An SQLAlchemy engine with the settings that survive a power cut.

    SQLite lets one writer in at a time; here a writer waits for the others before it starts,
    so it never fails half-way because another was faster.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = self._reader = self._writer = engine
        # SQLite's own waiting is a poll, which can starve a thread; a lock is a queue.
        self._write_lock: AbstractContextManager[object] = nullcontext()
        if engine.dialect.name == "sqlite":
            self._writer, self._write_lock = sqlite_writer(engine), threading.Lock()
        elif engine.dialect.name == "postgresql":
            self._reader = postgresql_reader(engine)

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at this SQLAlchemy URL, e.g. `sqlite:////srv/sirocco/sirocco.db`.

        A SQLite file that is not there is created with mode 0600 in its existing folder.

        Raises: ConfigError if it cannot be opened; the text shows no password.
        """
        parsed = parse_url(url)
        try:
            engine = _create_engine(parsed)
            with engine.connect():
                return cls(engine)
        except (OSError, SQLAlchemyError, sqlite3.Error, ImportError) as error:
            reason = without_secrets(reason_of(error), parsed)
            # The cause is left out: a traceback would show the driver's text as it was.
            raise ConfigError(f"cannot open the database {shown_url(parsed)}: {reason}") from None

    @property
    def dialect_name(self) -> str:
        """`sqlite` or `postgresql`, for the few statements that differ."""
        return self._engine.dialect.name

    def migrate(self) -> None:
        """Bring the schema up to date. Two processes may do this at once: one waits.

        Raises: ConfigError if the schema is newer than this program, or not ours.
        """
        with self.begin() as connection:
            if self.dialect_name == "postgresql":
                lock_migration(connection)
            upgrade(connection)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Read: all statements inside see the same moment. Raises: DatabaseAway."""
        with _away_is_told(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Write: all of it is kept at the end, or none of it after an exception. Never nested.

        Raises: DatabaseAway. Then it was not kept, or its answer was lost.
        """
        with _away_is_told(), self._write_lock, self._writer.begin() as connection:
            yield connection

    def ping(self) -> None:
        """Ask the database for nothing. Raises: DatabaseAway if it does not answer."""
        with self.connect() as connection:
            connection.execute(select(1)).one()

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()

    def advice(self) -> str | None:
        """One sentence for the log at the start of a server, if the storage has a known fault."""
        return sqlite_advice() if self.dialect_name == "sqlite" else None


@contextmanager
def _away_is_told() -> Iterator[None]:
    """Tell a database that cannot answer at this moment from a statement that is wrong."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if not _is_away(error):
            raise
        raise DatabaseAway(f"the database does not answer: {reason_of(error)}") from error


def _is_away(error: SQLAlchemyError) -> bool:
    if not isinstance(error, DBAPIError):
        return True  # no connection came free in time
    # SQLite's driver uses the one class for a full disk and for a statement that is no SQL.
    is_wrong = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    is_away = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    return is_away and not is_wrong


def _create_engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return sqlite_engine(url)
    if url.get_backend_name() == "postgresql":
        return postgresql_engine(url)
    url.get_dialect()  # tells of a kind that does not exist at all
    raise OSError(0, "it must be one of SQLite or PostgreSQL")


def reason_of(error: Exception) -> str:
    """Say in one sentence what went wrong, without the statement and its values."""
    if isinstance(error, NoSuchModuleError):
        return "there is no such kind of database"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("psycopg"):
        return "its driver is missing: pip install 'sirocco[postgresql]'"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    # libpq tells of each address that it tried in a line of its own.
    text = str(error.orig if isinstance(error, DBAPIError) else error)
    return " ".join(text.split())
