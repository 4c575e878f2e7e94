"""Documents on disk: plain texts, conversations, and the facts written for the embedded model.

Held-out documents are chosen by a hash of their own text, so the split is the same in every
run and a document that stands in two files lies on the same side in both.
"""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirocco.errors import ConfigError
from sirocco.training import wordings
from sirocco.types import Message

KINDS = (".jsonl", ".txt", ".md")
"""Files that are read: a document a line, or one document each."""

WRITTEN: dict[str, Callable[[int], Iterator[tuple[Message, ...]]]] = {
    "sirocco:facts": wordings.facts,
    "sirocco:tables": wordings.tables,
    "sirocco:talks": wordings.talks,
    "sirocco:stories": wordings.stories,
}
"""Paths of sources that mean conversations written for the embedded model, in the package."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text to go on with, or a conversation whose last message is the assistant's."""

    text: str | None = None
    messages: tuple[Message, ...] = ()

    @property
    def fingerprint(self) -> float:
        """A number in [0, 1) that depends on the content alone."""
        content = self.text if self.text is not None else repr(self.messages)
        digest = hashlib.blake2b(content.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


def read_source(path: str, data: Path, *, seed: int = 1) -> list[Document]:
    """All documents of a source: `.jsonl`, `.txt`, `.md` (each also `.gz`), a folder, or WRITTEN.

    Of a folder all such files are read, those of the folders in it too; other files are not.

    Args:
        seed: chooses the wordings of a source of WRITTEN.

    Raises: ConfigError naming the file, and the line where there is one.
    """
    if path in WRITTEN:
        return [Document(messages=messages) for messages in WRITTEN[path](seed)]
    file = data / path
    if file.is_dir():
        files = [f for f in sorted(file.rglob("*")) if f.is_file() and _kind(f) in KINDS]
        if not files:
            raise ConfigError(f"{file} holds no {', '.join(KINDS)} file, plain or .gz")
        return [document for f in files for document in _read_file(f)]
    return list(_read_file(file))


def is_held_out(document: Document, share: float) -> bool:
    """Whether a document is kept for evaluation."""
    return document.fingerprint < share


def with_system(document: Document, systems: Sequence[str], share: float) -> Document:
    """Put one of `systems` in front of a share of the conversations, chosen by their content.

    Texts, and conversations that have a system message, stay as they are.
    """
    # Digits of the fingerprint that `is_held_out` does not look at.
    lot = document.fingerprint * 1000 % 1.0
    if not document.messages or document.messages[0].role == "system" or lot >= share:
        return document
    system = Message("system", systems[int(lot / share * len(systems))])
    return Document(messages=(system, *document.messages))


def _kind(file: Path) -> str:
    suffixes = [suffix for suffix in file.suffixes if suffix != ".gz"]
    return suffixes[-1] if suffixes else ""


def _read_file(file: Path) -> Iterator[Document]:
    kind = _kind(file)
    if kind not in KINDS:
        raise ConfigError(f"{file}: a source is {', '.join(KINDS)}, plain or .gz")
    try:
        opener = gzip.open if file.suffix == ".gz" else open
        with opener(file, "rt", encoding="utf-8") as lines:
            if kind != ".jsonl":
                yield Document(text=lines.read())
                return
            for number, line in enumerate(lines, start=1):
                yield _parse_line(line, f"{file}, line {number}")
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _parse_line(line: str, where: str) -> Document:
    try:
        row: dict[str, Any] = json.loads(line)
        if "messages" in row:
            return Document(messages=_conversation(row["messages"]))
        return Document(text=row["text"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"{where}: expected a 'text' or 'messages': {error}") from error


def _conversation(rows: list[dict[str, str]]) -> tuple[Message, ...]:
    """Messages up to the assistant's last one; what comes after has no answer to learn."""
    messages = [Message(row["role"], row["content"]) for row in rows]  # type: ignore[arg-type]
    while messages and messages[-1].role != "assistant":
        messages.pop()
    if len(messages) < 2:
        raise ValueError("a conversation needs a question and an answer")
    return tuple(messages)
