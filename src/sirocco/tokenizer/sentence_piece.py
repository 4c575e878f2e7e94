"""Vocabularies in `tokenizer.model`, through the `sentencepiece` library."""

import json
from collections.abc import Sequence
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from sirocco.errors import CheckpointError
from sirocco.tokenizer.base import encode_around_control

_MOST_TOKENS = 1 << 20
"""No vocabulary is larger; an id beyond it is not one."""

_SPACE = "\u2581"
"""How a space is written in a piece."""


class SentencePieceTokenizer:
    """A `tokenizer.model`, with the control tokens of `added_tokens.json` beside it.

    The library never makes control tokens from text.

    Raises: CheckpointError if the file is not a tokenizer.
    """

    def __init__(self, file: Path) -> None:
        self._pieces = SentencePieceProcessor()
        try:
            self._pieces.Load(str(file))
        except (RuntimeError, OSError) as error:
            raise CheckpointError(f"{file} is not a tokenizer: {error}") from error
        added = _added_tokens(file.parent / "added_tokens.json")
        self._n_pieces: int = self._pieces.vocab_size()
        self.vocab_size: int = max([self._n_pieces, *(id_ + 1 for id_ in added.values())])
        self.bos_id = _id_or_none(self._pieces.bos_id())
        self.eos_id = _id_or_none(self._pieces.eos_id())
        self._control_ids: dict[str, int] = {
            self._pieces.id_to_piece(i): i
            for i in range(self._n_pieces)
            if self._pieces.is_control(i) or self._pieces.is_unknown(i)
        } | {name: id_ for name, id_ in added.items() if id_ >= self._n_pieces}
        self._control_names = {id_: name for name, id_ in self._control_ids.items()}

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        ids: list[int] = self._pieces.encode(text.encode("utf-8", "replace"))
        return ids

    def encode_raw(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        return encode_around_control(text, self._control_ids, self.encode)

    def control_id(self, name: str) -> int | None:
        """See `Tokenizer`."""
        return self._control_ids.get(name)

    def control_name(self, token_id: int) -> str | None:
        """See `Tokenizer`."""
        return self._control_names.get(token_id)

    def decode(self, token_ids: Sequence[int]) -> str:
        """See `Tokenizer`."""
        text: str = self._pieces.decode([i for i in token_ids if 0 <= i < self._n_pieces])
        return text

    def token_bytes(self, token_id: int) -> bytes | None:
        """See `Tokenizer`."""
        pieces = self._pieces
        if not 0 <= token_id < self._n_pieces or pieces.is_unused(token_id):
            return None
        piece: str = pieces.id_to_piece(token_id)
        if piece in self._control_ids:
            return None
        if pieces.is_byte(token_id):  # written <0x0A>
            return bytes([int(piece[3:-1], 16)])
        return piece.replace(_SPACE, " ").encode()


def _added_tokens(file: Path) -> dict[str, int]:
    """Read tokens that were added behind the vocabulary's own: `{"<|im_end|>": 32000, …}`."""
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON: {error}") from error
    items = raw.items() if isinstance(raw, dict) else [("", None)]
    for name, id_ in items:
        if not name or type(id_) is not int or not 0 <= id_ < _MOST_TOKENS:
            raise CheckpointError(f"{file} must map tokens to their ids, got {name!r}: {id_!r}")
    return dict(items)


def _id_or_none(token_id: int) -> int | None:
    return token_id if token_id >= 0 else None
