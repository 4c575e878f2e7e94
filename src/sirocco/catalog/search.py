"""Which models of a catalogue are asked for, and which page of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sirocco.catalog.entry import CatalogEntry

T = TypeVar("T")

_SOURCES = {"@cf": 1, "@hf": 2}
_OTHER_SOURCE = 3


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked for; None asks for nothing in particular.

    Attributes:
        text: is part of the id, an alias or the description, whatever its case.
        task: the name of a task, as `Text Generation` or as `text-generation`.
        source: see `source_of`.
    """

    text: str | None = None
    task: str | None = None
    author: str | None = None
    source: int | None = None
    hide_experimental: bool = False

    def matches(self, entry: CatalogEntry) -> bool:
        """Tell whether a model is asked for."""
        return (
            (self.text is None or _contains(entry, self.text))
            and (self.task is None or self.task.lower().replace(" ", "-") == entry.task)
            and (self.author is None or self.author.lower() == entry.author.lower())
            and (self.source is None or self.source == source_of(entry))
            and not (self.hide_experimental and entry.is_experimental)
        )


def source_of(entry: CatalogEntry) -> int:
    """Give the number of where a model comes from: 1 is `@cf`, 2 `@hf`, 3 anywhere else."""
    return _SOURCES.get(entry.model_id.partition("/")[0], _OTHER_SOURCE)


def page_of(found: Sequence[T], page: int, per_page: int) -> list[T]:
    """Cut out a page, counted from 1. Beyond the last one it is empty: pagers stop at that."""
    start = (page - 1) * per_page
    return list(found[start : start + per_page])


def _contains(entry: CatalogEntry, text: str) -> bool:
    texts = (entry.model_id, *entry.aliases, entry.description)
    return any(text.lower() in known.lower() for known in texts)
