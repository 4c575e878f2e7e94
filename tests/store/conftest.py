"""A blank database in a file of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sirocco.store.db import Database


@pytest.fixture
def database_file(tmp_path: Path) -> Path:
    return tmp_path / "sirocco.db"


@pytest.fixture
def database(database_file: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{database_file}")
    database.migrate()
    yield database
    database.close()
