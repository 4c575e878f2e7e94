"""The small values that rows are made of: ids, names, moments; and which of them we take."""

import re
import reprlib
import secrets
import unicodedata
from datetime import datetime

from sirocco.errors import InvalidInput

_ID_FORMAT = re.compile(r"\A[0-9a-f]{32}\Z")
_NAME_LIMIT = 100
_LEAST_WEIGHT, _MOST_WEIGHT = 0.01, 100.0
_NOT_TEXT = {"Cc", "Cs"}  # control characters; surrogates, which no database can hold


def new_id() -> str:
    """Return 32 random hex digits."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Tell whether this could be an id of ours."""
    return _ID_FORMAT.match(text) is not None


def require_name(name: str) -> str:
    """Give the name back.

    Raises: InvalidInput unless it has 1 to 100 characters, none of them a control character.
    """
    if not 1 <= len(name) <= _NAME_LIMIT:
        raise InvalidInput(
            f"'/name' must have 1 to {_NAME_LIMIT} characters, "
            f"got {reprlib.repr(name)} with {len(name)}"
        )
    if any(unicodedata.category(character) in _NOT_TEXT for character in name):
        raise InvalidInput(f"'/name' must have no control characters, got {name!r}")
    return name


def require_weight(weight: float) -> float:
    """Give an account's weight back. Raises: InvalidInput unless it is in 0.01 … 100."""
    if not _LEAST_WEIGHT <= weight <= _MOST_WEIGHT:
        raise InvalidInput(
            f"'/weight' must be in {_LEAST_WEIGHT} … {_MOST_WEIGHT:g}, got {weight!r}"
        )
    return weight


def require_zone(field: str, moment: datetime | None) -> datetime | None:
    """Give the moment back. Raises: InvalidInput if it has no time zone: it could mean any."""
    if moment is not None and moment.utcoffset() is None:
        raise InvalidInput(f"'/{field}' must have a time zone, got {moment.isoformat()}")
    return moment
