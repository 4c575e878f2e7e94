"""Options of the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nightly", action="store_true",
        help="run the random walks and the fault tests for hours, not for seconds",
    )  # fmt: skip


@pytest.fixture(scope="session")
def is_nightly(pytestconfig: pytest.Config) -> bool:
    """Whether there is time for a million steps."""
    return bool(pytestconfig.getoption("--nightly"))
