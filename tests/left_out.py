"""Tests that need a program which may be absent are left out, and the last lines name them."""

from collections.abc import Generator
from typing import NoReturn

import pytest

POSTGRESQL = "needs PostgreSQL's server"
NODE_CLIENTS = "needs the clients for Node.js"
PYTHON_CLIENTS = "needs the clients for Python"
CURL = "needs curl"
WORKERS_RUNTIME = "needs the Workers runtime"
CHROMIUM = "needs Chromium"
PLAYGROUND_BUILD = "needs what builds the playground"
TRITON = "needs the package triton"
MOUNT = "needs leave to mount a file system"

_HINTS = {
    POSTGRESQL: "tests with PostgreSQL; they need its server (Debian and Ubuntu: postgresql)",
    NODE_CLIENTS: "tests with clients for Node.js; they need node and npm (Debian and Ubuntu: "
    "npm), and then 'make clients'",
    PYTHON_CLIENTS: "tests with clients for Python; they need 'make clients'",
    WORKERS_RUNTIME: "tests of Worker scripts; they need npm (Debian and Ubuntu: npm), with which "
    "'make test' installs the Workers runtime",
    CHROMIUM: "tests of the playground; they need Chromium and npm (Debian and Ubuntu: chromium, "
    "npm)",
    PLAYGROUND_BUILD: "tests of the playground's build; they need npm (Debian and Ubuntu: npm)",
    TRITON: "tests of the kernels for GPUs; they need the package triton, which 'make setup' "
    "installs on Linux",
    MOUNT: "tests with a full disk; they need Linux, and root to mount a small file system",
    CURL: "tests with curl; they need it (Debian and Ubuntu: curl)",
}


def leave_out(reason: str) -> NoReturn:
    """Skip the test that asks; the reason is one of those above."""
    assert reason in _HINTS
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None, None, None]:
    """Name at the end what to install, so that nobody takes a part of the tests for the whole."""
    yield
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for reason, hint in _HINTS.items():
        n_left_out = sum(reason in text for text in skipped)
        if n_left_out:
            terminalreporter.write_line(f"left out: {hint}: {n_left_out}")
