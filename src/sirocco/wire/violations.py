"""From pydantic's findings to the sentences in which Workers AI refuses a body.

Source: bodies captured from the public service (code 5006); problems are joined by ", ".
"""

import reprlib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sirocco.errors import InvalidInput
from sirocco.wire.body import json_type

_EXPECTED = {
    "string_type": "string", "int_type": "integer", "float_type": "number",
    "bool_type": "boolean", "bool_parsing": "boolean", "list_type": "array",
    "model_type": "object", "model_attributes_type": "object", "dict_type": "object",
}  # fmt: skip
_COMPARED = {"greater_than_equal": (">=", "ge"), "less_than_equal": ("<=", "le")}
_SIZED = {
    "string_too_short": ("Length", ">=", "min_length"),
    "too_short": ("Number of items", ">=", "min_length"),
    "string_too_long": ("Length", "<=", "max_length"),
    "too_long": ("Number of items", "<=", "max_length"),
}
_LONGEST_VALUE = 40


def refusal(error: ValidationError) -> InvalidInput:
    """Name every field that is wrong, with its value and its limit."""
    problems = error.errors(include_url=False)
    wrong = [_sentence(e) for e in problems if e["type"] != "missing"]
    return InvalidInput(", ".join([*_missing(problems), *wrong]))


def pointer(location: Sequence[int | str]) -> str:
    """Write a place as a JSON pointer: ("messages", 0, "role") is /messages/0/role.

    Names in angle brackets are ours, for the branches of a union, and not in the body.
    """
    return "/" + "/".join(str(step) for step in location if not str(step).startswith("<"))


def _missing(problems: Sequence[ErrorDetails]) -> list[str]:
    """Write one sentence for each object that lacks members."""
    names: dict[str, list[str]] = {}
    for error in problems:
        if error["type"] == "missing":
            names.setdefault(pointer(error["loc"][:-1]), []).append(str(error["loc"][-1]))
    return [f"required properties at '{at}' are '{','.join(n)}'" for at, n in names.items()]


def _sentence(error: ErrorDetails) -> str:
    kind, where, value = error["type"], pointer(error["loc"]), error["input"]
    context: dict[str, Any] = error.get("ctx", {})
    if kind == "float_type" and json_type(value) == "integer":  # pydantic's word for too large
        return f"'{where}' is out of range, got {_shown(value)}"
    if kind in _EXPECTED:
        return f"Type mismatch of '{where}', '{json_type(value)}' not in '{_EXPECTED[kind]}'"
    if kind in _COMPARED:
        sign, limit = _COMPARED[kind]
        return f"'{where}' must be {sign} {context[limit]:.15g}, got {_shown(value)}"
    if kind in _SIZED:
        what, sign, limit = _SIZED[kind]
        return f"{what} of '{where}' must be {sign} {context[limit]}, got {len(value)}"
    if kind == "literal_error":
        return f"'{where}' must be one of {context['expected']}, got {_shown(value)}"
    return f"'{where}': {error['msg']}, got {_shown(value)}"


def _shown(value: object) -> str:
    text = reprlib.repr(value)  # looks neither deep nor far into what may be large
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def whole_number(value: object) -> object:
    """Take 5.0 for 5: JSON has one kind of number, and some clients write every one as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
