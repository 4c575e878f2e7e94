"""What the lab's models read: a text in the package, or a folder of the reader's own."""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from sirocco.errors import ConfigError
from sirocco.tokenizer import load_tokenizer
from sirocco.tokenizer.base import Tokenizer
from sirocco.training import packing
from sirocco.training.bpe import train_tokenizer
from sirocco.training.corpus import Document, is_held_out, read_source
from sirocco.training.packing import Batch, Encoded

PIECE_CHARS = 8000
"""Texts are cut into pieces of about this length, at ends of lines."""

HELD_OUT = 0.1
"""Share of the pieces that no model learns from, chosen by a hash of their own text."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Pieces of text as tokens, split into what is learnt and what is held out.

    Attributes:
        name: of where they come from, for people.
        tokenizer: of their own vocabulary, learnt from what is not held out.
    """

    name: str
    tokenizer: Tokenizer
    learnt: tuple[Encoded, ...]
    held_out: tuple[Encoded, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens in what is learnt."""
        return sum(len(piece.token_ids) for piece in self.learnt)

    def batches(self, *, seq_len: int, batch_size: int, steps: int, seed: int) -> Iterator[Batch]:
        """Cut rows to learn from; the seed alone decides which, and in what order."""
        return packing.batches(
            self.learnt, seq_len=seq_len, batch_size=batch_size, steps=steps, seed=seed
        )

    def held_out_batches(self, *, seq_len: int, batch_size: int, n: int) -> list[Batch]:
        """Cut rows to judge by, the same ones for every model."""
        return list(
            packing.batches(self.held_out, seq_len=seq_len, batch_size=batch_size, steps=n, seed=0)
        )

    def long_rows(self, seq_len: int, n: int) -> list[list[int]]:
        """Take up to `n` runs of `seq_len` held-out tokens, each from one piece.

        Raises: ConfigError if no piece is that long.
        """
        rows = [
            piece.token_ids[at : at + seq_len].tolist()
            for piece in self.held_out
            for at in range(0, len(piece.token_ids) - seq_len + 1, seq_len)
        ]
        if not rows:
            raise ConfigError(f"{self.name}: no piece of text has {seq_len} tokens")
        return rows[:n]


def read_texts(folder: Path | None, *, vocab_size: int, work: Path) -> Texts:
    """Read and encode a folder of `.txt` and `.jsonl` files, or the text in the package.

    Args:
        work: where the vocabulary is written, as tokenizer.json.

    Raises: ConfigError if the folder cannot be read, or holds too little.
    """
    learnt, held_out = _split(folder)
    train_tokenizer((piece.text or "" for piece in learnt), vocab_size, work / "tokenizer.json")
    return _texts(folder, learnt, held_out, load_tokenizer(work))


def encode_texts(folder: Path, tokenizer: Tokenizer) -> Texts:
    """Read a folder likewise, in a vocabulary that is there already.

    Raises: ConfigError if the folder cannot be read, or holds too little.
    """
    return _texts(folder, *_split(folder), tokenizer)


def _split(folder: Path | None) -> tuple[list[Document], list[Document]]:
    """Pieces that are learnt, and those that are held out."""
    pieces = list(_pieces(_lines_of(folder)))
    learnt = [piece for piece in pieces if not is_held_out(piece, HELD_OUT)]
    held_out = [piece for piece in pieces if is_held_out(piece, HELD_OUT)]
    if not learnt or not held_out:
        raise ConfigError(
            f"{_name(folder)} has {len(pieces)} pieces of {PIECE_CHARS} characters; "
            f"20 or more are needed to hold some of them out"
        )
    return learnt, held_out


def _texts(
    folder: Path | None, learnt: list[Document], held_out: list[Document], tokenizer: Tokenizer
) -> Texts:
    return Texts(
        _name(folder), tokenizer, _encoded(learnt, tokenizer), _encoded(held_out, tokenizer)
    )


def _name(folder: Path | None) -> str:
    return "Shakespeare" if folder is None else str(folder)


def _encoded(pieces: Iterable[Document], tokenizer: Tokenizer) -> tuple[Encoded, ...]:
    return tuple(packing.encode(piece, tokenizer, "breeze", "all") for piece in pieces)


def _lines_of(folder: Path | None) -> Iterator[str]:
    if folder is None:
        packed = (resources.files("sirocco.lab") / "shakespeare.txt.gz").read_bytes()
        yield from gzip.decompress(packed).decode("utf-8").splitlines(keepends=True)
        return
    for document in read_source("", folder):
        texts = [document.text] if document.text is not None else []
        for text in (*texts, *(message.content for message in document.messages)):
            yield from (text + "\n").splitlines(keepends=True)


def _pieces(lines: Iterator[str]) -> Iterator[Document]:
    piece, length = [], 0
    for line in lines:
        piece.append(line)
        length += len(line)
        if length >= PIECE_CHARS:
            yield Document(text="".join(piece))
            piece, length = [], 0
    if "".join(piece).strip():
        yield Document(text="".join(piece))
