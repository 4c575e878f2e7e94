"""The schemas that are told are those that hold."""

import json

import pytest

from sirocco.wire.model_schema import TextResult, input_schema, output_schema
from sirocco.wire.text_generation import TextGeneration, usage, whole_result


def names_in(schema):
    if isinstance(schema, dict):
        yield from schema
        for part in schema.values():
            yield from names_in(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from names_in(part)


def test_every_field_that_is_read_is_described():
    described = set().union(*(form["properties"] for form in input_schema()["oneOf"]))

    assert described == set(TextGeneration.model_fields) - {"lora"}


@pytest.mark.parametrize("schema", [input_schema(), output_schema()], ids=["input", "output"])
def test_a_schema_has_plain_words_and_leads_nowhere_else(schema):
    assert not {"ge", "le", "anyOf"} & set(names_in(schema))
    assert '"null"' not in json.dumps(schema)
    assert set(_refs(schema)) == {f"#/$defs/{name}" for name in schema["$defs"]}


def test_what_is_answered_is_what_is_described():
    TextResult.model_validate(whole_result("x", usage(1, 2)), strict=True)


def _refs(schema):
    if isinstance(schema, dict):
        yield from [v for k, v in schema.items() if k == "$ref"]
        for part in schema.values():
            yield from _refs(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _refs(part)
