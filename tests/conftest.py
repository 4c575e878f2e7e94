"""Options of the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nightly", action="store_true",
        help="run the random walks and repeat the tests of faults for hours, not for seconds",
    )  # fmt: skip


@pytest.fixture(scope="session")
def is_nightly(pytestconfig: pytest.Config) -> bool:
    """Whether there is time for a million steps."""
    return bool(pytestconfig.getoption("--nightly"))


@pytest.fixture(scope="session")
def n_loops(is_nightly: bool) -> int:  # noqa: FBT001 - a fixture
    """How often a test of a fault is to be repeated."""
    return 200 if is_nightly else 1
