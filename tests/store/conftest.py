"""SQLite in a file of its own, for what is told of its files alone.

Most tests take `database`, and so run with PostgreSQL, too.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sirocco.store.db import Database


@pytest.fixture
def database_file(tmp_path: Path) -> Path:
    return tmp_path / "sirocco.db"


@pytest.fixture
def sqlite_database(database_file: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{database_file}")
    database.migrate()
    yield database
    database.close()
