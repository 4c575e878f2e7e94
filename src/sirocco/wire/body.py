"""Request bodies as values. They are read as JSON, whatever their Content-Type says.

Workers AI's own curl examples name no type, and other clients name a wrong one.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from sirocco.errors import InvalidInput, MissingBody
from sirocco.wire.envelope import JsonObject

_JSON_TYPES = {
    dict: "object", list: "array", str: "string", bool: "boolean", int: "integer",
    float: "number", type(None): "null",
}  # fmt: skip


def parse_object(body: bytes) -> JsonObject:
    """Read a body that must be one JSON object; members that are null are left out.

    Raises: MissingBody if it is empty; InvalidInput if it is not JSON, not an object, nested
        beyond what can be read, or holds a number that is not finite.
    """
    if not body.strip():
        raise MissingBody("body")
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None
    except ValueError as error:  # broken JSON, broken UTF-8, thousands of digits
        raise InvalidInput(f"the body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"Type mismatch of '/', '{json_type(value)}' not in 'object'")
    return without_nulls(value)


def without_nulls(members: Mapping[str, Any]) -> JsonObject:
    """Leave out members that are null: clients write `"stop": null` for "none"."""
    return {name: value for name, value in members.items() if value is not None}


def json_type(value: object) -> str:
    """Name the JSON type of a parsed value."""
    return _JSON_TYPES[type(value)]


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]} is out of range")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
