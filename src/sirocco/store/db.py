"""The database: how it is opened, and how work on it begins and ends."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from sirocco.errors import ConfigError
from sirocco.store.migrate import upgrade

_BUSY_TIMEOUT_MS = 10_000
_SAFE_WAL = (3, 51, 3)


class Database:
    """An SQLAlchemy engine with the settings that survive a power cut.

    SQLite lets one writer in at a time; here a writer waits for the others before it starts,
    so it never fails half-way because another was faster.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        # SQLite's own waiting is a poll, which can starve a thread; a lock is a queue.
        self._write_lock: AbstractContextManager[object] = (
            threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        )

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at this SQLAlchemy URL, e.g. `sqlite:////srv/sirocco/sirocco.db`.

        A SQLite file that is not there is created with mode 0600 in its existing folder.

        Raises: ConfigError if it cannot be opened; the text shows no password.
        """
        parsed = _parse(url)
        shown = parsed.render_as_string(hide_password=True)
        try:
            engine = _create_engine(parsed)
            with engine.connect():
                return cls(engine)
        except (OSError, SQLAlchemyError, sqlite3.Error, ImportError) as error:
            raise ConfigError(f"cannot open the database {shown}: {_reason(error)}") from error

    def migrate(self) -> None:
        """Bring the schema up to date. Two processes may do this at once: one waits.

        Raises: ConfigError if the schema is newer than this program, or not ours.
        """
        with self.begin() as connection:
            upgrade(connection)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Read: all statements inside see the same moment."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Write: all of it is kept at the end, or none of it after an exception. Never nested."""
        with self._write_lock, self._writer.begin() as connection:
            yield connection

    def ping(self) -> None:
        """Ask the database for nothing. Raises: SQLAlchemyError if it does not answer."""
        with self.connect() as connection:
            connection.execute(select(1)).one()

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()

    def advice(self) -> str | None:
        """One sentence for the log at the start of a server, if the storage has a known fault."""
        if self._engine.dialect.name != "sqlite" or sqlite3.sqlite_version_info >= _SAFE_WAL:
            return None
        return (
            f"SQLite {sqlite3.sqlite_version} can, very rarely, damage a database that several "
            f"processes write at the same instant; 3.51.3 and later cannot"
        )


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The text may hold a password, so it is not repeated.
        raise ConfigError("the database URL is not of the form sqlite:///FILE") from error
    in_memory = parsed.database in (None, "", ":memory:") or "mode=memory" in str(parsed)
    if parsed.get_backend_name() == "sqlite" and in_memory:
        raise ConfigError("the database URL must name a file: one in memory forgets its accounts")
    return parsed


def _create_engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    assert url.database is not None
    _create_private_file(Path(url.database))
    engine = create_engine(url)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _create_private_file(path: Path) -> None:
    # Only if it is new: closing a second descriptor of a file that SQLite has open in this
    # process would drop SQLite's locks on it.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return


def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    # sqlite3 itself would begin transactions late and never around DDL; `_begin` does it.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}").close()
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL").close()  # a commit survives a power cut
    connection.execute("PRAGMA foreign_keys = ON").close()


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # SQLite does not wait for busy_timeout here: of six processes that opened one blank file
    # at once, one in 360 was told that the database is locked. So the waiting is ours.
    deadline_s = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql(options.get("sqlite_begin", "BEGIN"))


def _reason(error: Exception) -> str:
    if isinstance(error, NoSuchModuleError):
        return "there is no such kind of database"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error.orig if isinstance(error, DBAPIError) else error)
