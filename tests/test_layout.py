"""The house keeps its own rules: import contracts, a purpose per room, a reason per dependency."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = sorted(init.parent for init in (ROOT / "src" / "sirocco").glob("*/__init__.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def dependencies() -> list[str]:
    """Name every package that pyproject.toml asks for, to build, to run or to develop."""
    project = PROJECT["project"]
    asked = PROJECT["build-system"]["requires"] + project["dependencies"]
    for extra in project["optional-dependencies"].values():
        asked = asked + extra
    return [re.split(r"[\s<>=!~\[;]", line, maxsplit=1)[0] for line in asked]


def test_every_import_contract_holds() -> None:
    """A clean interpreter reads the code afresh, without what other tests have imported."""
    lint = "import sys; from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True))"

    done = subprocess.run(
        [sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_room_says_what_it_is_for(room: Path) -> None:
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))

    assert docstring
    assert len(docstring.split()) > 3, f"{room.name}: {docstring!r} says nothing"


def test_every_room_has_a_place_in_the_layers() -> None:
    layered = " ".join(PROJECT["tool"]["importlinter"]["contracts"][0]["layers"])

    missing = [room.name for room in ROOMS if not re.search(rf"\b{room.name}\b", layered)]

    assert missing == []


@pytest.mark.parametrize("name", dependencies())
def test_every_dependency_has_its_reason(name: str) -> None:
    reasons = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text()

    assert re.search(rf"^\| `{re.escape(name)}` \| \S.*\|$", reasons, re.MULTILINE), name


def test_no_lock_file_says_where_packages_come_from() -> None:
    """Everyone has a registry of their own."""
    lock = (ROOT / "tests" / "clients" / "node" / "package-lock.json").read_text()

    assert '"resolved"' not in lock
