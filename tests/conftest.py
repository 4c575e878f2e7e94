"""Options of the whole suite, and the databases that several rooms are tested with."""

import logging
from collections.abc import Iterator

import pytest
import structlog
from tests.left_out import pytest_terminal_summary
from tests.postgresql import blank_url, database, database_url, migrated, postgresql

__all__ = [
    "blank_url",
    "database",
    "database_url",
    "migrated",
    "postgresql",
    "pytest_terminal_summary",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nightly", action="store_true", help="walk at random for hours, not for seconds"
    )
    parser.addoption(
        "--loops",
        type=int,
        default=1,
        help="how often each fault of a process is tried; 200 a night",
    )


@pytest.fixture(autouse=True)
def logging_afterwards() -> Iterator[None]:
    """Undo what a command did to logging: its stream is a file that pytest closes."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    if logging.root.handlers != handlers:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def is_nightly(pytestconfig: pytest.Config) -> bool:
    """Whether there is time for a million steps."""
    return bool(pytestconfig.getoption("--nightly"))


@pytest.fixture(scope="session")
def n_loops(pytestconfig: pytest.Config) -> int:
    """How often a test of a fault is to be repeated."""
    return int(pytestconfig.getoption("--loops"))
