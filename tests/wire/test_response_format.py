"""In which form an answer is wanted."""

import json

import pytest

from sirocco.errors import InvalidInput, JsonNotMet
from sirocco.types import Grammar
from sirocco.wire.response_format import parsed
from sirocco.wire.status import status_of
from sirocco.wire.text_generation import read_text_generation

SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}


def grammar(**members):
    return read_text_generation({"prompt": "a", **members}).sampling.grammar


def test_text_is_bound_to_nothing():
    assert grammar() is None
    assert grammar(response_format={"type": "text"}) is None


def test_a_json_object_is_any_object():
    wanted = grammar(response_format={"type": "json_object"})

    assert wanted == Grammar("json_schema", '{"type": "object"}', "response_format")


@pytest.mark.parametrize(
    "wrapper", [SCHEMA, {"name": "n", "schema": SCHEMA, "strict": True}, {"schema": SCHEMA}]
)
def test_a_schema_is_read_bare_and_wrapped(wrapper):
    wanted = grammar(response_format={"type": "json_schema", "json_schema": wrapper})

    assert wanted == Grammar("json_schema", json.dumps(SCHEMA), "response_format")


def test_a_schema_with_a_property_called_schema_is_not_a_wrapper():
    schema = {"type": "object", "schema": {"type": "string"}}

    wanted = grammar(response_format={"type": "json_schema", "json_schema": schema})

    assert json.loads(wanted.text) == schema


def test_guided_json_is_a_schema_too():
    assert grammar(guided_json=SCHEMA) == Grammar("json_schema", json.dumps(SCHEMA), "guided_json")


def test_guided_json_without_a_word_is_any_object():
    """LangChain asks so for its JSON mode."""
    assert grammar(guided_json={}) == Grammar("json_schema", '{"type": "object"}', "guided_json")


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"type": "xml"}, "'/response_format/type' must be one of 'text' or 'json_object'"),
        ({"type": "json_schema"}, "required properties at '/response_format' are 'json_schema'"),
        ({"type": "json_schema", "json_schema": "x"}, "Type mismatch of '/response_format/json_sc"),
        ("json", "Type mismatch of '/response_format'"),
    ],
)
def test_another_form_is_refused_by_its_place(wanted, text):
    with pytest.raises(InvalidInput) as caught:
        grammar(response_format=wanted)

    assert str(caught.value).startswith(text)


def test_an_answer_that_was_cut_off_is_no_json():
    assert parsed('{"x": 1}') == {"x": 1}
    with pytest.raises(JsonNotMet) as caught:
        parsed('{"x": ')
    assert status_of(caught.value) == (400, 5024)
