"""What every vocabulary can do."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Tokenizer(Protocol):
    """A vocabulary of `vocab_size` tokens.

    Text that looks like a control token (`</s>`, `[INST]`) is text like any other to `encode`:
    what a user writes can never end a turn or begin one. `encode_raw` alone reads it as control.
    """

    @property
    def vocab_size(self) -> int:
        """Number of token ids: 0 … vocab_size − 1."""
        ...

    @property
    def bos_id(self) -> int | None:
        """The token that begins a sequence; None if there is none."""
        ...

    @property
    def eos_id(self) -> int | None:
        """The token that ends an answer; None if there is none."""
        ...

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without BOS and EOS; control tokens are never among them."""
        ...

    def encode_raw(self, text: str) -> list[int]:
        """Tokens of a text in which control tokens are meant; no BOS is put in front."""
        ...

    def control_id(self, name: str) -> int | None:
        """Id of the control token that is written `name`; None if there is none."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of some tokens, from the start of a text.

        Control tokens and ids without a token have no text; bytes that are not UTF-8 become
        U+FFFD.
        """
        ...

    def token_bytes(self, token_id: int) -> bytes | None:
        """Give what a token adds within a text, in UTF-8, perhaps part of a character.

        None for control tokens and ids without a token.
        """
        ...

    def control_name(self, token_id: int) -> str | None:
        """How a control token is written; None for any other id."""
        ...


def encode_around_control(
    text: str, control_ids: Mapping[str, int], encode: Callable[[str], list[int]]
) -> list[int]:
    """Tokens of a text in which the names of `control_ids` stand for themselves."""
    # Longest first: of two names with the same beginning, the longer one is meant.
    names = sorted(map(re.escape, control_ids), key=len, reverse=True)
    token_ids: list[int] = []
    for part in re.split(f"({'|'.join(names)})", text):
        if part in control_ids:
            token_ids.append(control_ids[part])
        elif part:
            token_ids += encode(part)
    return token_ids
