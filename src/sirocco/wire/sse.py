"""Server-sent events: the writing half for the server, the reading half for clients.

Source: HTML Living Standard §9.2 "Server-sent events".
"""

import codecs
import json
import os
import re
from collections.abc import Callable, Mapping

import msgspec

DONE = b"data: [DONE]\n\n"
"""The event that ends a whole answer; a stream without it was cut off."""

PADDING_ALPHABET = "abdefghijklmnoprstuvxyz1234567890"
_MAX_PADDING = 35

_DRAWN_AT_ONCE = 256

_N_CHARACTERS = len(PADDING_ALPHABET)
_CHARACTERS = bytes(ord(PADDING_ALPHABET[byte % _N_CHARACTERS]) for byte in range(256))
_UNEVEN_CHARACTERS = bytes(range(256 - 256 % _N_CHARACTERS, 256))
_UNEVEN_LENGTHS = bytes(range(256 - 256 % (_MAX_PADDING + 1), 256))

_fast_json = msgspec.json.Encoder().encode

_LINE_END = re.compile(r"\r\n|\n|\r")


def encode(data: Mapping[str, object]) -> bytes:
    """Write one event whose data is `data` as compact JSON.

    Text stays readable UTF-8. A lone surrogate has no UTF-8 form, so an event that holds
    one is written with escapes instead.

    Raises: ValueError for NaN and infinities, which JSON cannot say.
    """
    try:
        line = _compact_json(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        line = _compact_json(data, ensure_ascii=True).encode()
    return b"data: " + line + b"\n\n"


def encode_named(name: str, data: Mapping[str, object]) -> bytes:
    """Write an event with a name in front, as OpenAI's responses have one."""
    return b"event: " + name.encode() + b"\n" + encode(data)


def encode_texts(data: Mapping[str, str]) -> bytes:
    """Write the event that `encode` writes, where all values are texts: four times as fast."""
    try:
        return b"data: " + _fast_json(data) + b"\n\n"
    except UnicodeEncodeError:
        return encode(data)


class Padding:
    """Draws texts of random length (0 … 35) that hide how long the token beside them is.

    An eavesdropper sees the size of each event, and could read the answer from the lengths
    of its tokens. The characters are random too: a fixed text would shrink to almost nothing
    where a proxy compresses the stream. One serves a whole event loop: the system is asked for
    random bytes once for many texts.

    Args:
        random_bytes: gives so many of them; nobody may be able to foresee them.

    Source: Weiss 2024, "What Was Your Prompt? A Remote Keylogging Attack on AI Assistants".
    """

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._texts: list[str] = []

    def draw(self) -> str:
        """Give the next text."""
        while not self._texts:
            self._refill()
        return self._texts.pop()

    def _refill(self) -> None:
        # Bytes that would make some lengths or characters likelier than others are left out.
        lengths = self._random_bytes(_DRAWN_AT_ONCE).translate(None, _UNEVEN_LENGTHS)
        drawn = self._random_bytes(_DRAWN_AT_ONCE * _MAX_PADDING)
        characters = drawn.translate(_CHARACTERS, _UNEVEN_CHARACTERS).decode()
        end = 0
        for length in (byte % (_MAX_PADDING + 1) for byte in lengths):
            begin, end = end, end + length
            if end > len(characters):
                return
            self._texts.append(characters[begin:end])


class Decoder:
    """Finds the events in a stream of bytes that arrives in any pieces.

    Only the data of an event is kept: the API sends no `event:`, `id:` or `retry:` fields.
    An event that the stream's end cuts off is never returned.
    """

    def __init__(self) -> None:
        # utf-8-sig drops one BOM at the start, as the standard asks.
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._after_cr = False
        self._line: list[str] = []  # pieces of the line that has not ended yet
        self._data: list[str] = []  # data lines of the event that has not ended yet

    def feed(self, chunk: bytes) -> list[str]:
        """Return the data of every event that `chunk` completes, in order."""
        text = self._utf8.decode(chunk)
        if not text:
            return []
        # "\r" ends a line at once; a "\n" that then comes first belongs to it.
        rest = text[1:] if self._after_cr and text[0] == "\n" else text
        self._after_cr = text[-1] == "\r"
        events: list[str] = []
        *ended, unended = _LINE_END.split(rest)
        for piece in ended:
            self._line.append(piece)
            self._end_line(events)
        self._line.append(unended)
        return events

    def _end_line(self, events: list[str]) -> None:
        line = "".join(self._line)
        self._line.clear()
        if line:
            self._read_field(line)
        elif self._data:  # a blank line ends the event; one without data is not an event
            events.append("\n".join(self._data))
            self._data.clear()

    def _read_field(self, line: str) -> None:
        name, _, value = line.partition(":")  # a comment has an empty name
        if name == "data":
            self._data.append(value.removeprefix(" "))


def _compact_json(data: Mapping[str, object], *, ensure_ascii: bool) -> str:
    return json.dumps(data, ensure_ascii=ensure_ascii, separators=(",", ":"), allow_nan=False)
