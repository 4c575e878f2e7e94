"""What commands print: a table for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_MAX_WIDTH = 10_000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_table(rows: Sequence[Mapping[str, object]], *, as_json: bool, nothing: str) -> None:
    """Print rows that have the same keys; `nothing` is the sentence for none."""
    if as_json:
        print(json.dumps([dict(row) for row in rows]))
        return
    if not rows:
        print(nothing)
        return
    table = Table(*rows[0], box=None, pad_edge=False, header_style="bold")
    for row in rows:
        # Text is shown as it is: a name may look like rich's markup.
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    # So wide that nothing is cut: ids are there to be copied, by people and by pipes.
    Console(width=_MAX_WIDTH).print(table, soft_wrap=True)


def size(n_bytes: object) -> str | None:
    """Write a number of bytes for a person; None stays None."""
    if not isinstance(n_bytes, int):
        return None
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:,.1f} {unit}"
    return f"{n_bytes} B"
