"""How large a JSON text may become as values, seen before and while it is read.

A text of 8 MB can be 2.8 million empty lists, which take a second to make and 200 MB to keep. So
the values are counted first, by what separates them: not one is made, and nothing here walks
through the text but the interpreter's own searches.
"""

import math
from typing import Any, NoReturn

import msgspec

MAX_VALUES = 20_000
"""Members of objects, items of lists, and these themselves; a turn of a conversation is three."""
MAX_DEPTH = 128
MAX_NUMBER = 100
"""Characters of a number; a double has 25 at most."""

_BEGINS_VALUE = b",[{"


class ShapeError(ValueError):
    """A JSON text is too much of something; the text names what, and the limit."""


def check_n_values(text: bytes, max_values: int = MAX_VALUES) -> None:
    """Raise ShapeError if a text holds too many values. It need not be JSON."""
    if _n_values(text) <= max_values:
        return  # even if no comma and bracket of it stood in a string
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    around_quotes = bare.split(b'"', 4 * max_values)  # a member has four, with its name
    is_too_long = len(around_quotes) > 4 * max_values
    if is_too_long or _n_values(b"".join(around_quotes[::2])) > max_values:
        raise ShapeError(f"it has more than {max_values} values")


def check_depth(value: object) -> None:
    """Raise ShapeError if lists and objects are nested too deeply."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise too_deep()


def too_deep() -> ShapeError:
    """Say that a text is nested too deeply."""
    return ShapeError(f"it is nested more than {MAX_DEPTH} levels deep")


def whole_number(digits: str) -> int:
    """Read an integer. Raises: ShapeError if it is too long."""
    return int(_short(digits))


def finite_number(digits: str) -> float:
    """Read a number with a point or an exponent. Raises: ShapeError if no double is that large."""
    number = float(_short(digits))
    if not math.isfinite(number):
        raise ShapeError(f"the number {digits[:20]} is out of range")
    return number


def refuse_constant(name: str) -> NoReturn:
    """Raise ShapeError for `NaN` and `Infinity`, which Python would read."""
    raise ShapeError(f"{name} is not JSON")


def check_characters(value: object) -> None:
    """Raise ShapeError if a string holds half of a character, which has no UTF-8 form."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise ShapeError(f"a string holds {half}, which is half of a character") from None


def _n_values(text: bytes) -> int:
    return len(text) - len(text.translate(None, _BEGINS_VALUE))


def _inside(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _short(digits: str) -> str:
    if len(digits) > MAX_NUMBER:
        raise ShapeError(f"a number has {len(digits)} characters, and may have {MAX_NUMBER}")
    return digits
