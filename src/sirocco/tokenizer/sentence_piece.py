"""Vocabularies in `tokenizer.model`, through the `sentencepiece` library."""

from collections.abc import Sequence
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from sirocco.errors import CheckpointError
from sirocco.tokenizer.base import encode_around_control

_SPACE = "\u2581"
"""How a space is written in a piece."""


class SentencePieceTokenizer:
    """A `tokenizer.model`; the library never makes control tokens from text.

    Raises: CheckpointError if the file is not a tokenizer.
    """

    def __init__(self, file: Path) -> None:
        self._pieces = SentencePieceProcessor()
        try:
            self._pieces.Load(str(file))
        except (RuntimeError, OSError) as error:
            raise CheckpointError(f"{file} is not a tokenizer: {error}") from error
        self.vocab_size: int = self._pieces.vocab_size()
        self.bos_id = _id_or_none(self._pieces.bos_id())
        self.eos_id = _id_or_none(self._pieces.eos_id())
        self._control_ids: dict[str, int] = {
            self._pieces.id_to_piece(i): i
            for i in range(self.vocab_size)
            if self._pieces.is_control(i) or self._pieces.is_unknown(i)
        }
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
        text: str = self._pieces.decode([i for i in token_ids if 0 <= i < self.vocab_size])
        return text

    def token_bytes(self, token_id: int) -> bytes | None:
        """See `Tokenizer`."""
        pieces = self._pieces
        if not 0 <= token_id < self.vocab_size or pieces.is_unused(token_id):
            return None
        piece: str = pieces.id_to_piece(token_id)
        if piece in self._control_ids:
            return None
        if pieces.is_byte(token_id):  # written <0x0A>
            return bytes([int(piece[3:-1], 16)])
        return piece.replace(_SPACE, " ").encode()


def _id_or_none(token_id: int) -> int | None:
    return token_id if token_id >= 0 else None
