"""Schemas that are meant to cost, by what they are too much of."""

import json
from typing import Any

_HARD = "(a|b)*a(a|b)"  # with {n} behind it, its automaton has 2ⁿ states


def _doubling(kind: str) -> dict[str, Any]:
    """A reference to two that are references to two …"""
    refs = {f"d{i}": {kind: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    return {"$ref": "#/$defs/d0", "$defs": {**refs, "d40": {"type": "integer"}}}


def _objects(n: int) -> list[dict[str, Any]]:
    return [
        {"type": "object", "properties": {f"k{i}": {"type": "string"}}, "required": [f"k{i}"]}
        for i in range(n)
    ]


def _nested(n: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for i in range(n):
        schema = {"type": "object", "properties": {f"k{i}": schema}, "required": [f"k{i}"]}
    return schema


SCHEMAS: dict[str, dict[str, Any]] = {
    "depth": _nested(45),
    "enum": {"enum": [f"{i}" for i in range(15_000)]},
    "enum of beginnings": {"enum": ["a" * i for i in range(700)]},
    "constants": {"anyOf": [{"const": f"x{i}"} for i in range(5_000)]},
    "alternatives": {"anyOf": _objects(1_500)},
    "long constant": {"const": "a" * 200_000},
    "members of a constant": {"const": {f"k{i}": i for i in range(5_000)}},
    "optional members": {"type": "object", "properties": {f"k{i}": {} for i in range(3_000)}},
    "required members": {"type": "object", "required": [f"k{i}" for i in range(2_000)]},
    "products of alternatives": {
        "allOf": [{"anyOf": [{"const": f"{i}{k}"} for k in range(40)]} for i in range(40)]
    },
    "automaton": {"type": "string", "pattern": _HARD + "{20}"},
    "product of automata": {
        "allOf": [{"type": "string", "pattern": f"{_HARD}{{{i}}}"} for i in range(1, 20)]
    },
    "backtracking": {"type": "string", "pattern": "(((a+)+)+)+$"},
    "repetitions": {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
    "ranges of repetitions": {"type": "string", "pattern": "(a{0,5000}b{0,5000}){0,500}"},
    "classes": {"type": "string", "pattern": r"(\p{L}|\p{N}|\w|\W){50,500}"},
    "length": {"type": "string", "minLength": 1_000_000},
    "items": {
        "type": "array", "minItems": 1_000,
        "items": {"type": "array", "minItems": 1_000, "items": {"type": "array"}},
    },
    "multiples": {
        "allOf": [{"type": "integer", "multipleOf": n} for n in (999983, 999979, 999961, 999959)]
    },
    "circle of references": {
        "$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}
    },
    "tree of references": {
        "type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}
    },
    "references, all": _doubling("allOf"),
    "references, any": _doubling("anyOf"),
    "patterns of members": {
        "type": "object", "patternProperties": {f"^{_HARD}{{{i}}}$": {} for i in range(5, 30)}
    },
    "blanks": {
        "type": "object", "x-guidance": {"whitespace_pattern": _HARD + "{30}"},
        "properties": {"a": {"type": "object"}},
    },
}  # fmt: skip

TEXTS = {name: json.dumps(schema) for name, schema in SCHEMAS.items()}
