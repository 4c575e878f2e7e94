"""Vocabularies in `tokenizer.json`, through the `tokenizers` library."""

import json
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import tokenizers

from sirocco.errors import CheckpointError

_CONTROL = re.compile(r"<\|[^|]+\|>")

_SPACE = "\u2581"
"""How a space is written in a token."""


def _letters_of_bytes() -> dict[str, int]:
    """Say which byte a letter stands for in vocabularies of bytes.

    Printable ones of Latin-1 stand for themselves, the others follow from U+0100 on.
    Source: Radford 2019 (GPT-2), whose vocabularies began it.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + index): byte for index, byte in enumerate(others)
    }


_BYTE_OF_LETTER = _letters_of_bytes()


class HuggingFaceTokenizer:
    """A `tokenizer.json`, with the names of BOS and EOS from `tokenizer_config.json` beside it.

    Raises: CheckpointError if the file is not a tokenizer.
    """

    def __init__(self, file: Path) -> None:
        self._plain, self._raw = _open(file), _open(file)
        for tokenizer in (self._plain, self._raw):
            _make_control(tokenizer)
        # The library's switch for "control tokens in a text are text".
        self._plain.encode_special_tokens = True
        self.vocab_size: int = self._plain.get_vocab_size(with_added_tokens=True)
        self._control_ids = {
            token.content: id_
            for id_, token in self._plain.get_added_tokens_decoder().items()
            if token.special
        }
        self._control_names = {id_: name for name, id_ in self._control_ids.items()}
        self._added_ids = frozenset(self._plain.get_added_tokens_decoder())
        decoder = json.loads(self._plain.to_str())["decoder"]
        self._writes_bytes = '"ByteLevel"' in json.dumps(decoder)
        config = _config_beside(file)
        self.bos_id = self.control_id(_name(config.get("bos_token"), default="<s>"))
        self.eos_id = self.control_id(_name(config.get("eos_token"), default="</s>"))
        byte_ids = (self._plain.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
        self._byte_of = {id_: byte for byte, id_ in enumerate(byte_ids) if id_ is not None}

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        ids: list[int] = self._plain.encode(_sound(text), add_special_tokens=False).ids
        return ids

    def encode_raw(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        ids: list[int] = self._raw.encode(_sound(text), add_special_tokens=False).ids
        return ids

    def control_id(self, name: str) -> int | None:
        """See `Tokenizer`."""
        return self._control_ids.get(name)

    def control_name(self, token_id: int) -> str | None:
        """See `Tokenizer`."""
        return self._control_names.get(token_id)

    def decode(self, token_ids: Sequence[int]) -> str:
        """See `Tokenizer`."""
        if not self._byte_of:
            return self._decode(token_ids)
        # The library turns a whole run of byte tokens into U+FFFD if one of its bytes is bad;
        # then a character that was already shown would change when a bad byte follows it.
        text = ""
        for are_bytes, run in groupby(token_ids, key=self._byte_of.__contains__):
            ids = list(run)
            if are_bytes:
                text += bytes(self._byte_of[i] for i in ids).decode("utf-8", "replace")
            else:
                text += self._decode_after(ids) if text else self._decode(ids)
        return text

    def token_bytes(self, token_id: int) -> bytes | None:
        """See `Tokenizer`."""
        if token_id in self._byte_of:
            return bytes([self._byte_of[token_id]])
        token = self._plain.id_to_token(token_id)
        if token is None or token in self._control_ids:
            return None
        if token_id in self._added_ids:  # written as it is
            return str(token).encode()
        if not self._writes_bytes:
            return str(token).replace(_SPACE, " ").encode()
        return bytes(_BYTE_OF_LETTER[letter] for letter in token if letter in _BYTE_OF_LETTER)

    def _decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._plain.decode(list(token_ids), skip_special_tokens=True)
        return text

    def _decode_after(self, token_ids: list[int]) -> str:
        """Text of tokens that follow other text: a space in front stays."""
        before = self._plain.encode("x", add_special_tokens=False).ids
        return self._decode([*before, *token_ids])[len(self._decode(before)) :]


def _open(file: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"{file} is not a tokenizer: {error}") from error


def _make_control(tokenizer: tokenizers.Tokenizer) -> None:
    """Take added tokens that look like `<|im_end|>` for control tokens, whatever the file says.

    Some publishers forgot to say it, and then a user's text could end a turn.
    """
    tokenizer.add_special_tokens([
        tokenizers.AddedToken(token.content, special=True, normalized=False)
        for token in tokenizer.get_added_tokens_decoder().values()
        if _CONTROL.fullmatch(token.content) and not token.special
    ])  # fmt: skip


def _config_beside(file: Path) -> dict[str, object]:
    try:
        raw = json.loads((file.parent / "tokenizer_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{file.parent / 'tokenizer_config.json'} cannot be read as JSON: {error}"
        ) from error
    return raw if isinstance(raw, dict) else {}


def _name(token: object, *, default: str) -> str:
    """Read a token's text, given as itself or as an object with `content`."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else default


def _sound(text: str) -> str:
    """Replace lone surrogates, which have no UTF-8 form."""
    return text.encode("utf-8", "replace").decode("utf-8")
