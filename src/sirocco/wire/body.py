"""Request bodies as values. They are read as JSON, whatever their Content-Type says.

Workers AI's own curl examples name no type, and other clients name a wrong one.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from sirocco.errors import InvalidInput, MissingBody
from sirocco.wire.envelope import JsonObject
from sirocco.wire.json_shape import (
    MAX_DEPTH,
    MAX_VALUES,
    ShapeError,
    check_characters,
    check_depth,
    check_n_values,
    finite_number,
    refuse_constant,
    too_deep,
    whole_number,
)

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

_JSON_TYPES = {
    dict: "object", list: "array", str: "string", bool: "boolean", int: "integer",
    float: "number", type(None): "null",
}  # fmt: skip


def parse_object(body: bytes, max_values: int = MAX_VALUES) -> JsonObject:
    """Read a body that must be one JSON object; members that are null are left out.

    Megabytes take tens of milliseconds.

    Raises: MissingBody if it is empty; InvalidInput if it is not JSON, not an object, or more than
        `json_shape` permits.
    """
    if not body.strip():
        raise MissingBody("body")
    try:
        value = _read(body, max_values)
    except ShapeError as error:
        raise InvalidInput(f"the body is not read: {error}") from None
    except ValueError as error:  # broken JSON, broken UTF-8
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


def _read(body: bytes, max_values: int) -> Any:
    check_n_values(body, max_values)
    try:
        value = json.loads(
            body.decode("utf-8-sig"), parse_constant=refuse_constant,
            parse_float=finite_number, parse_int=whole_number,
        )  # fmt: skip
    except RecursionError:
        raise too_deep() from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        check_depth(value)
    if _ESCAPED_SURROGATE.search(body):
        check_characters(value)
    return value
