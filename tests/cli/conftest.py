"""The command line, run as its entry point runs it, in a home of its own."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sirocco.cli import main


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a fresh SIROCCO_HOME, no other setting, and a terminal that wraps nothing."""
    for name in os.environ:
        if name.upper().startswith("SIROCCO_") or name in ("FORCE_COLOR", "GITHUB_ACTIONS"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SIROCCO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERMINAL_WIDTH", "400")
    return tmp_path / "home"


@pytest.fixture
def sirocco(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run a command line in this process."""

    def run(*args: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["sirocco", *args])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main.run()
        out, err = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Done(left.value.code, out, err)

    return run


@pytest.fixture
def refused(sirocco: Callable[..., Done]) -> Callable[..., str]:
    """Run a command line that must fail; give the one sentence that it says."""

    def run(*args: str) -> str:
        done = sirocco(*args)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith("sirocco: ")
        assert done.err.endswith("\n")
        assert done.err.count("\n") == 1
        return done.err.removeprefix("sirocco: ").rstrip("\n")

    return run
