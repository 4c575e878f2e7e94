"""The install on first use, with a stand-in for npm; and the pins."""

import json
import os
from pathlib import Path

import pytest
from tests.worker.conftest import NODE

import sirocco.worker
from sirocco.errors import SetupError
from sirocco.worker.runtime import readable_lines
from sirocco.worker.tools import find_tools, installed_tools

OURS = Path(sirocco.worker.__file__).parent


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Put a program called npm on the path, and nothing else."""

    def put(text):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "npm").write_text(f"#!/bin/sh\n{text}\n")
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return put


def test_the_tools_are_installed_once_with_a_line_about_it(tmp_path, npm, tools):
    npm(f'echo "$@" >> {tmp_path}/calls; ln -s {tools.packages} node_modules')
    said: list[str] = []

    first = installed_tools(tmp_path / "home", said.append)
    second = installed_tools(tmp_path / "home", said.append)

    assert first == second
    assert os.access(first.workerd, os.X_OK)
    assert len(said) == 1
    assert (tmp_path / "calls").read_text().splitlines() == [
        "ci --ignore-scripts --no-audit --no-fund --loglevel=error"
    ]


def test_without_npm_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []

    with pytest.raises(SetupError, match="install Node"):
        installed_tools(tmp_path / "home", said.append)

    assert said == []


def test_a_failure_of_npm_is_told(tmp_path, npm):
    npm("echo 'npm error code E404' >&2; echo 'npm error 404 no such package' >&2; exit 1")

    with pytest.raises(SetupError, match=r"npm could not .*: 404 no such package"):
        installed_tools(tmp_path / "home", lambda _: None)


def test_an_install_that_broke_off_is_none(tmp_path, npm, tools):
    npm("mkdir node_modules; exit 1")
    with pytest.raises(SetupError):
        installed_tools(tmp_path / "home", lambda _: None)

    npm(f"ln -s {tools.packages} node_modules")

    assert installed_tools(tmp_path / "home", lambda _: None).packages.is_dir()
    assert len(list((tmp_path / "home" / "worker-tools").iterdir())) == 1


def test_packages_without_a_binary_for_this_machine_are_told(tmp_path, npm):
    npm("mkdir node_modules")

    with pytest.raises(SetupError, match="no workerd or esbuild for this machine"):
        installed_tools(tmp_path / "home", lambda _: None)


def test_there_are_no_tools_in_an_empty_folder(tmp_path):
    assert find_tools(tmp_path) is None


def test_the_tests_run_what_people_get():
    ours = json.loads((OURS / "package.json").read_text())["dependencies"]
    tested = json.loads((NODE / "package.json").read_text())["dependencies"]

    assert ours.items() <= tested.items()


@pytest.mark.parametrize("folder", [OURS, NODE])
def test_lock_files_name_no_host(folder):
    lock = json.loads((folder / "package-lock.json").read_text())

    packages = [package for name, package in lock["packages"].items() if name]
    assert packages
    assert all("integrity" in package for package in packages)
    assert not any("resolved" in package for package in packages)


def test_what_the_runtime_notes_for_its_makers_is_left_out():
    lines = [
        "a line of the script\n",
        "workerd/io/a.c++:3: info: uncaught exception; source = Uncaught; stack = Error: no\n",
        "    at Object.fetch (worker.js:5:37)\n",
        "workerd/io/io-context.c++:656: info: uncaught exception; exception = jsg.Error: no\n",
        "stack: /x/workerd@3f68b70\n",
        "workerd/server.c++:1: error: cannot listen\n",
        "another line\n",
    ]

    assert list(readable_lines(lines)) == [
        "a line of the script",
        "Uncaught: Error: no",
        "    at Object.fetch (worker.js:5:37)",
        "cannot listen",
        "another line",
    ]
