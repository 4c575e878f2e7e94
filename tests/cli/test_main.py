"""The door: help that waits for nothing, and failures in one sentence."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from sirocco import __version__
from sirocco.cli.main import app

SCRIPT = Path(sys.executable).parent / "sirocco"


def commands() -> Iterator[tuple[str, Any]]:
    """Give every command with the words that call it."""
    waiting: list[tuple[str, Any]] = [("", typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop(0)
        for name, child in getattr(command, "commands", {}).items():
            waiting.append((f"{words} {name}".strip(), child))
        yield words, command


COMMANDS = dict(commands())


def test_every_command_is_behind_the_door():
    assert set(COMMANDS) == {
        "", "serve", "run", "chat", "models", "pull", "train", "quantize", "doctor", "plan",
        "convert", "lab", "lab attention",
        "accounts", "accounts create", "accounts list", "accounts weight", "accounts limits",
        "usage",
        "tokens", "tokens create", "tokens list", "tokens revoke",
        "worker", "worker dev", "worker init",
    }  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_help_tells_of_every_option_whole(sirocco, words):
    """Rich would swallow `[auto]` in a help text as markup."""
    command = COMMANDS[words]

    done = sirocco(*words.split(), "--help")

    assert (done.status, done.err) == (0, "")
    for parameter in command.params:
        assert all(name in done.out for name in parameter.opts if name.startswith("-"))
        assert getattr(parameter, "help", None) is not None, f"{parameter.name} has no help"
        assert parameter.help in done.out
    for name in getattr(command, "commands", {}):
        assert name in done.out


@pytest.mark.parametrize("words", ["", "accounts", "tokens", "worker"])
def test_a_group_without_a_command_shows_its_help(sirocco, words):
    done = sirocco(*words.split())

    assert done.status == 2
    assert "Usage: " in done.out + done.err


@pytest.mark.parametrize("words", ["nosuch", "tokens nosuch", "serve --nosuch", "tokens revoke"])
def test_a_wrong_command_line_is_told_with_its_usage(sirocco, words):
    done = sirocco(*words.split())

    assert (done.status, done.out) == (2, "")
    assert "Usage: " in done.err


def test_the_version_is_printed(sirocco):
    done = sirocco("--version")

    assert (done.status, done.out) == (0, f"sirocco {__version__}\n")


@pytest.mark.parametrize("words", ["--help", "serve --help", "tokens create --help", "--version"])
def test_help_imports_nothing_slow(words):
    code = (
        "import json, sys\n"
        "from sirocco.cli import main\n"
        "try:\n"
        "    main.run()\n"
        "except SystemExit:\n"
        "    print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=True
    )

    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert "typer" in imported
    assert not imported & {"torch", "sqlalchemy", "numpy", "fastapi", "uvicorn"}


def test_the_installed_script_fails_in_one_sentence():
    done = subprocess.run(
        [SCRIPT, "accounts", "create", "--name", ""], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sirocco: '/name' must have 1 to 100 characters, got '' with 0\n"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SIROCCO_PORT", "http", "port: "),
        ("SIROCCO_HOME", "/dev/null/home", "cannot make the folder /dev/null/home: "),
        ("SIROCCO_DATABASE_URL", "sqlite://", "the database URL must name a file"),
        ("SIROCCO_DATABASE_URL", "nosuchdb://u:hunter-2@h/d", "cannot open the database "),
        ("SIROCCO_DATABASE_URL", "hunter-2 is no URL", "the database URL is not of the form"),
        ("SIROCCO_DATABASE_URL", "postgresql://u:hunter-2@h:x/d", "the database URL is not"),
    ],
)
def test_a_bad_setting_is_told_in_one_sentence_without_a_password(
    refused, monkeypatch, name, value, sentence
):
    monkeypatch.setenv(name, value)

    text = refused("accounts", "list")

    assert text.startswith(sentence)
    assert "hunter-2" not in text


def test_a_broken_settings_file_is_told_in_one_sentence(refused, home):
    home.mkdir()
    (home / "settings.toml").write_text("port =")

    assert refused("accounts", "list").startswith(f"{home / 'settings.toml'} cannot be read: ")


def test_an_interrupted_command_leaves_with_the_status_of_its_signal(sirocco, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("sirocco.cli.accounts.opened_stores", interrupt)

    assert sirocco("accounts", "list").status == 130
