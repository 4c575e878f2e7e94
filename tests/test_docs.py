"""Documents that cannot fall behind: each name in the code stands where people look for it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from sirocco.cli.main import app
from sirocco.settings import Settings
from sirocco.wire.status import _ROWS
from sirocco.wire.text_generation import RunOptions, TextGeneration

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
         *sorted((ROOT / "docs").rglob("*.md"))]  # fmt: skip
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """Read a document by its path in the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def wire_names(schema: type[BaseModel], prefix: str = "") -> list[str]:
    """Name a schema's fields as clients write them."""
    return [prefix + (field.alias or name) for name, field in schema.model_fields.items()]


def commands(group: typer.Typer, prefix: str = "sirocco") -> Iterator[str]:
    """Write out every command of the command line."""
    for command in group.registered_commands:
        assert command.callback is not None
        yield f"{prefix} {command.name or command.callback.__name__.replace('_', '-')}"
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance, f"{prefix} {inner.typer_instance.info.name}")


def tried_clients() -> list[tuple[str, str]]:
    """Name every client that the tests install, with its exact version."""
    listed = page("tests/clients/python/requirements.txt").split()
    asked = json.loads(page("tests/clients/node/package.json"))["dependencies"]
    return [(name, version) for name, _, version in (line.partition("==") for line in listed)] + [
        *asked.items()
    ]


def heading_anchors(text: str) -> set[str]:
    """Name the places that `#…` can lead to, as GitHub does."""
    headings = re.findall(r"^#+ +(.*)$", _CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def relative_links() -> list[tuple[Path, str]]:
    """Find every link from a document into the repository."""
    return [
        (document, target)
        for document in PAGES
        for target in _LINK.findall(_CODE.sub("", document.read_text(encoding="utf-8")))
        if not re.match(r"[a-z]+:", target)
    ]


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_has_its_row(name: str) -> None:
    variable = f"SIROCCO_{name.upper()}"

    assert re.search(rf"^\| `{variable}` \|", page("docs/operations.md"), re.MULTILINE)


@pytest.mark.parametrize("name", wire_names(TextGeneration) + wire_names(RunOptions, "options."))
def test_every_field_of_a_body_has_its_row(name: str) -> None:
    assert re.search(rf"^\| `{re.escape(name)}` \|", page("docs/api.md"), re.MULTILINE)


@pytest.mark.parametrize("error", _ROWS, ids=lambda error: error.__name__)
def test_every_error_has_its_row_with_status_and_code(error: type) -> None:
    row = _ROWS[error]

    documented = rf"^\| {row.http} \| {row.code} \|[^|]*`{error.__name__}`"

    assert re.search(documented, page("docs/api.md"), re.MULTILINE)


@pytest.mark.parametrize("command", sorted(commands(app)))
def test_every_command_is_explained(command: str) -> None:
    pages = page("docs/operations.md") + page("README.md")

    assert re.search(rf"{re.escape(command)}\b", pages)


def test_the_command_line_is_walked() -> None:
    assert {"sirocco serve", "sirocco tokens revoke", "sirocco accounts list"} <= set(commands(app))


@pytest.mark.parametrize(("client", "version"), tried_clients())
def test_every_client_that_is_tried_is_named_with_its_version(client: str, version: str) -> None:
    named = rf"^\|.*`{re.escape(client)}`[^|]*\|?[^|]* {re.escape(version)}\b"

    assert re.search(named, page("docs/api.md"), re.MULTILINE)


@pytest.mark.parametrize(("document", "target"), relative_links())
def test_every_link_leads_somewhere(document: Path, target: str) -> None:
    path, _, anchor = target.partition("#")

    aim = (document.parent / path).resolve() if path else document

    assert aim.exists(), f"{document.name}: {target}"
    assert not anchor or anchor in heading_anchors(aim.read_text(encoding="utf-8")), target
