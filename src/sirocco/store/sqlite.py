"""SQLite, with the settings under which what was committed survives a power cut."""

import os
import sqlite3
import time
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event

_BUSY_TIMEOUT_MS = 10_000
_SAFE_WAL = (3, 51, 3)


def sqlite_engine(url: URL) -> Engine:
    """Make the engine; a file that is not there is created with mode 0600."""
    assert url.database is not None
    _create_private_file(Path(url.database))
    engine = create_engine(url, hide_parameters=True)  # an error tells no values
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def sqlite_writer(engine: Engine) -> Engine:
    """Let transactions wait for other writers before they start, not half-way."""
    return engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")


def sqlite_advice() -> str | None:
    """One sentence about the library's version, if it has a known fault."""
    if sqlite3.sqlite_version_info >= _SAFE_WAL:
        return None
    return (
        f"SQLite {sqlite3.sqlite_version} can, very rarely, damage a database that several "
        f"processes write at the same instant; 3.51.3 and later cannot"
    )


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
