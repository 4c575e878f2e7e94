"""JSON Schemas of bodies for the API's own description: what is really taken, nothing less.

They begin as what pydantic says of the models that check bodies. What happens before these
models is added here: null is as good as absent, functions may be wrapped, and so on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from sirocco.wire.envelope import JsonObject

_STANDARD = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum",
             "oneOf": "anyOf"}  # fmt: skip
"""Words of pydantic's that JSON Schema does not have; and turns may be of both kinds at once."""
_NULL_IS_ABSENT = ("ChatMessage", "CallingMessage", "RunOptions")
_MAY_BE_WRAPPED = ("ToolSchema", "ToolCallSchema", "_NamedTool")
"""Definitions that may be the member `function` of an object."""
_NULL = {"type": "null"}
_BOOLEAN = {"type": "boolean"}
_TRUE_OR_FALSE = r"^(?:[01]|[tTyY]|[fFnN]|[tT][rR][uU][eE]|[fF][aA][lL][sS][eE]|[yY][eE][sS]|[nN][oO]|[oO][nN]|[oO][fF][fF])$"  # noqa: E501
TRUTH = {"anyOf": [_BOOLEAN, {"enum": [0, 1]}, {"type": "string", "pattern": _TRUE_OR_FALSE}]}
"""What is read as true or false where clients write it in many ways."""
QUEUE_REQUEST = {"enum": [True, False, "true", "false", "1", "0", None]}


def body_schema(
    model: type[BaseModel], *, refused: Mapping[str, Sequence[object]] | None = None
) -> JsonObject:
    """Describe a body; its definitions stand in `$defs`.

    Args:
        refused: members that are refused, with the values of them that ask for nothing.
    """
    schema: JsonObject = _plain(model.model_json_schema())
    definitions = schema.setdefault("$defs", {})
    for name in _NULL_IS_ABSENT:
        if name in definitions:
            definitions[name] = _with_nulls(definitions[name])
    for name in _MAY_BE_WRAPPED:
        if name in definitions:
            definitions[name] = _maybe_wrapped(definitions[name])
    for name, nothing in (refused or {}).items():
        schema["properties"][name] = {"enum": [*nothing], "description": "not supported"}
    for name in ("raw", "stream"):
        if name in schema["properties"] and not _is_strict(model, name):
            del schema["properties"][name]["type"]
            schema["properties"][name] |= TRUTH
    return _with_nulls(schema)


def with_one_subject(schema: JsonObject) -> JsonObject:
    """Say that a body has `prompt` or `messages`, and not both."""
    kinds = {"prompt": "string", "messages": "array"}
    forms = [
        {"required": [name], "properties": {name: {"type": kind}}} for name, kind in kinds.items()
    ]
    return {**schema, "oneOf": forms}


def query_parameters(model: type[BaseModel]) -> JsonObject:
    """Describe the parameters of an address, of which an empty one is as good as absent."""
    schema = _plain(model.model_json_schema())
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "description": _EMPTY_TOO,
             "schema": _or_empty(described)}
            for name, described in schema["properties"].items()
        ]
    }  # fmt: skip


_EMPTY_TOO = "An empty value is as good as none."


def _or_empty(schema: JsonObject) -> JsonObject:
    """Allow the empty text, and not null, which an address cannot hold."""
    branches = [b for b in schema.get("anyOf", [schema]) if b != _NULL]
    kinds = [TRUTH if b.get("type") == "boolean" else b for b in branches]
    return {"anyOf": [*kinds, {"const": ""}]}


def _is_strict(model: type[BaseModel], name: str) -> bool:
    return not any(getattr(m, "strict", None) is False for m in model.model_fields[name].metadata)


def _with_nulls(schema: JsonObject) -> JsonObject:
    """Allow null for each member that may be absent as well."""
    required = schema.get("required", ())
    members = {
        name: member if name in required else _or_null(member)
        for name, member in schema["properties"].items()
    }
    return {**schema, "properties": members}


def _or_null(member: JsonObject) -> JsonObject:
    said: JsonObject = {name: member[name] for name in ("default", "description") if name in member}
    alone = {name: part for name, part in member.items() if name not in said}
    branches = alone["anyOf"] if set(alone) == {"anyOf"} else [alone]
    if _NULL in branches:
        return member
    return {**said, "anyOf": [*branches, _NULL]}


def _maybe_wrapped(schema: JsonObject) -> JsonObject:
    wrapped = {"type": "object", "properties": {"function": schema}, "required": ["function"]}
    return {"anyOf": [schema, wrapped]}


def _plain(schema: Any) -> Any:
    """Leave out titles and defaults that are null, and use JSON Schema's own words."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        _STANDARD.get(name, name): _plain(part)
        for name, part in schema.items()
        if not (name == "title" and isinstance(part, str)) and (name, part) != ("default", None)
    }
