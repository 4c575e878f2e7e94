"""What people wrote for the embedded model: facts, tables of small facts, sums."""

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

FILES = (
    "facts", "attention", "inference", "models", "sirocco", "breeze", "everyday", "unknown",
)  # fmt: skip
WORDINGS_PER_FACT = 20
WORDINGS_PER_ROW = 6
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty", "twenty-one", "twenty-two", "twenty-three", "twenty-four", "twenty-five",
)  # fmt: skip
_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "plus": lambda a, b: a + b,
    "minus": lambda a, b: a - b,
    "times": lambda a, b: a * b,
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One answer, and how it is asked for.

    Attributes:
        questions: whole ones, trained on.
        names: what it explains, for the wordings of askings.toml; may be empty.
        held_out: questions that are never trained on.
        follow_ups: short questions that make sense after another fact of the same topic.
        why, more: answers to "Why?" and "Tell me more." after it; None if there is none.
        is_row: it is one of a table's many.
    """

    topic: str
    answer: str
    questions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    follow_ups: tuple[str, ...] = ()
    why: str | None = None
    more: str | None = None
    is_row: bool = False

    @property
    def n_wordings(self) -> int:
        """How many documents are made of it."""
        return WORDINGS_PER_ROW if self.is_row else WORDINGS_PER_FACT


def all_facts(*, with_held_out_rows: bool = False) -> list[Fact]:
    """Everything that was written, tables and sums filled in; `held_out_rows` only if asked."""
    found: list[Fact] = []
    for name in FILES:
        raw = load(name)
        found += [_fact(entry, name) for entry in raw.get("fact", ())]
        for table in raw.get("table", ()):
            found += _rows(table, table["rows"])
            if with_held_out_rows:
                found += _rows(table, table.get("held_out_rows", ()), is_held_out=True)
        for sums in raw.get("sum", ()):
            found += _sums(sums)
    return found


def load(name: str) -> dict[str, Any]:
    """Read a file of the folder `pairs`."""
    file = resources.files("sirocco.training") / "pairs" / f"{name}.toml"
    return tomllib.loads(file.read_text("utf-8"))


def bare(question: str) -> str:
    """Reduce a question to what two spellings of it share."""
    return re.sub(r"[^a-z0-9+*/ -]", "", question.lower()).strip()


def _fact(raw: dict[str, Any], topic: str) -> Fact:
    return Fact(
        topic=raw.get("topic", topic), answer=raw["answer"],
        questions=tuple(raw.get("questions", ())), names=tuple(raw.get("about", ())),
        held_out=tuple(raw.get("held_out", ())), why=raw.get("why"), more=raw.get("more"),
    )  # fmt: skip


def _rows(
    table: dict[str, Any], rows: Sequence[Sequence[str]], *, is_held_out: bool = False
) -> Iterator[Fact]:
    turned = {b: a for a, b in reversed(rows)} if table.get("both_ways") else {}
    known_words = {row[0] for row in rows}
    for row in [*rows, *([b, a] for b, a in turned.items() if b not in known_words)]:
        known, held_out = (
            tuple(q.format(*row) for q in table.get(kind, ())) for kind in ("questions", "held_out")
        )
        answer = table["answer"].format(*row)
        follow_ups = tuple(q.format(*row) for q in table.get("follow_ups", ()))
        yield Fact(
            table["topic"], answer[0].upper() + answer[1:], questions=() if is_held_out else known,
            held_out=held_out + (known[:1] if is_held_out else ()), follow_ups=follow_ups,
            is_row=True,
        )  # fmt: skip


def _sums(table: dict[str, Any]) -> Iterator[Fact]:
    compute = _OPERATIONS[table["operation"]]
    for a in range(table["up_to"] + 1):
        for b in range(table["up_to"] + 1):
            if (c := compute(a, b)) < 0:
                continue
            words = {"a": NUMBERS[a], "b": NUMBERS[b], "A": a, "B": b, "c": NUMBERS[c]}
            answer = table["answer"].format(**words)
            yield Fact(
                table["topic"], answer[0].upper() + answer[1:],
                questions=tuple(q.format(**words) for q in table["questions"]),
                held_out=tuple(q.format(**words) for q in table["held_out"]),
                is_row=True,
            )  # fmt: skip
