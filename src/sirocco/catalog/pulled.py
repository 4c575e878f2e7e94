"""Checkpoints that were pulled by the name of their repository: `models/OWNER/NAME`.

An id is text from a request, and becomes a path here: only plain names may.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sirocco.catalog.entry import CatalogEntry, holds_checkpoint
from sirocco.catalog.template import template_of

_PART = re.compile(r"[A-Za-z0-9][\w.\-]*", re.ASCII)


def pulled_entry(models_folder: Path, model_id: str) -> CatalogEntry | None:
    """Describe the checkpoint in `models/OWNER/NAME`; None if there is none."""
    parts = model_id.split("/")
    if len(parts) != 2 or not all(_PART.fullmatch(part) for part in parts):
        return None
    folder = models_folder / model_id
    if not holds_checkpoint(folder):
        return None
    return CatalogEntry(model_id, template_of(folder), folder, hub=model_id)


def pulled_entries(models_folder: Path) -> Iterator[CatalogEntry]:
    """Describe every such checkpoint, by name."""
    for folder in sorted(models_folder.glob("*/*")):
        entry = pulled_entry(models_folder, folder.relative_to(models_folder).as_posix())
        if entry is not None:
            yield entry
