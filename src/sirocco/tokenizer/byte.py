"""A vocabulary of bytes: for tests, and for networks with random weights."""

from collections.abc import Sequence

from sirocco.tokenizer.base import encode_around_control

_CONTROL_IDS = {"<unk>": 0, "<s>": 1, "</s>": 2}


class ByteTokenizer:
    """Ids 0 … 2 are `<unk>`, `<s>`, `</s>`; byte b is 3 + b; ids beyond that have no text.

    Args:
        vocab_size: at least 259; more where a network's vocabulary is larger.
    """

    bos_id = _CONTROL_IDS["<s>"]
    eos_id = _CONTROL_IDS["</s>"]

    def __init__(self, vocab_size: int = 259) -> None:
        if vocab_size < 259:
            raise ValueError(f"vocab_size must be at least 259, got {vocab_size}")
        self.vocab_size = vocab_size

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        return [3 + byte for byte in text.encode("utf-8", "replace")]

    def encode_raw(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        return encode_around_control(text, _CONTROL_IDS, self.encode)

    def control_id(self, name: str) -> int | None:
        """See `Tokenizer`."""
        return _CONTROL_IDS.get(name)

    def control_name(self, token_id: int) -> str | None:
        """See `Tokenizer`."""
        return next((name for name, id_ in _CONTROL_IDS.items() if id_ == token_id), None)

    def token_bytes(self, token_id: int) -> bytes | None:
        """See `Tokenizer`."""
        return bytes([token_id - 3]) if 3 <= token_id < 259 else None

    def decode(self, token_ids: Sequence[int]) -> str:
        """See `Tokenizer`."""
        return bytes(i - 3 for i in token_ids if 3 <= i < 259).decode("utf-8", "replace")
