"""Refusals in the words of the public service: field, value, limit."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sirocco.errors import InvalidInput
from sirocco.wire.violations import pointer, refusal, whole_number


class Part(BaseModel):
    model_config = ConfigDict(strict=True)

    role: Literal["user", "system"]
    content: str


class Body(BaseModel):
    """A field of every kind that a body may have."""

    model_config = ConfigDict(strict=True)

    text: Annotated[str, Field(min_length=1, max_length=8)] = "x"
    flag: bool = False
    whole: Annotated[int, Field(ge=1, le=9_999_999_999)] = 1
    real: Annotated[float, Field(ge=0.001, le=2)] = 1
    items: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    parts: list[Part] = []


def sentence(**members: Any) -> str:
    """Give the text in which these members are refused."""
    with pytest.raises(ValidationError) as raised:
        Body.model_validate(members)
    error = refusal(raised.value)
    assert isinstance(error, InvalidInput)
    return str(error)


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ((), "/"),
        (("temperature",), "/temperature"),
        (("messages", 17), "/messages/17"),
        (("messages", 0, "content", "<parts>", 3, "text"), "/messages/0/content/3/text"),
        (("stop", "<one>"), "/stop"),
    ],
)
def test_a_place_is_a_json_pointer_without_our_own_steps(location, text):
    assert pointer(location) == text


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"text": 5}, "Type mismatch of '/text', 'integer' not in 'string'"),
        ({"text": ["a"]}, "Type mismatch of '/text', 'array' not in 'string'"),
        ({"flag": "true"}, "Type mismatch of '/flag', 'string' not in 'boolean'"),
        ({"whole": 1.5}, "Type mismatch of '/whole', 'number' not in 'integer'"),
        ({"whole": True}, "Type mismatch of '/whole', 'boolean' not in 'integer'"),
        ({"real": "1"}, "Type mismatch of '/real', 'string' not in 'number'"),
        ({"items": {}}, "Type mismatch of '/items', 'object' not in 'array'"),
        ({"items": [1, None]}, "Type mismatch of '/items/1', 'null' not in 'integer'"),
        ({"parts": ["a"]}, "Type mismatch of '/parts/0', 'string' not in 'object'"),
    ],
)
def test_a_wrong_type_is_named_beside_the_right_one(members, text):
    assert sentence(**members) == text


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"whole": 0}, "'/whole' must be >= 1, got 0"),
        ({"whole": 10_000_000_000}, "'/whole' must be <= 9999999999, got 10000000000"),
        ({"real": 0}, "'/real' must be >= 0.001, got 0"),
        ({"real": 2.5}, "'/real' must be <= 2, got 2.5"),
        ({"text": ""}, "Length of '/text' must be >= 1, got 0"),
        ({"text": "123456789"}, "Length of '/text' must be <= 8, got 9"),
        ({"items": []}, "Number of items of '/items' must be >= 1, got 0"),
        ({"items": [1, 2, 3]}, "Number of items of '/items' must be <= 2, got 3"),
        (
            {"parts": [{"role": "tool", "content": "x"}]},
            "'/parts/0/role' must be one of 'user' or 'system', got 'tool'",
        ),
    ],
)
def test_a_value_beyond_a_limit_is_named_with_it(members, text):
    assert sentence(**members) == text


def test_members_that_one_object_lacks_share_a_sentence():
    """The public service: required properties at '/messages/17' are 'role,content'."""
    text = sentence(parts=[{}, {"role": "user"}])

    assert text == (
        "required properties at '/parts/0' are 'role,content', "
        "required properties at '/parts/1' are 'content'"
    )


def test_every_problem_is_told():
    text = sentence(text="", whole=0, flag=1)

    assert text == (
        "Length of '/text' must be >= 1, got 0, "
        "Type mismatch of '/flag', 'integer' not in 'boolean', "
        "'/whole' must be >= 1, got 0"
    )


def test_an_integer_that_no_float_can_hold_is_out_of_range_and_not_of_a_wrong_type():
    assert sentence(real=10**400).startswith("'/real' is out of range, got 1000")


@pytest.mark.parametrize(
    "role",
    ["x" * 10_000, list(range(10_000)), {"a" * 10_000: "b" * 10_000}, 10**4000],
    ids=["string", "array", "object", "integer"],
)
def test_a_large_value_is_shortened(role):
    assert len(sentence(parts=[{"role": role, "content": ""}])) < 150


def test_a_value_nested_as_deeply_as_a_list_can_be_is_shown():
    role: list[object] = []
    for _ in range(100_000):
        role = [role]

    text = sentence(parts=[{"role": role, "content": ""}])

    assert text.startswith("'/parts/0/role' must be one of 'user' or 'system', got [[")


def test_a_lone_surrogate_is_refused_in_text_that_can_be_sent():
    text = sentence(text="\ud800")

    assert text.startswith("'/text': ")
    assert text.encode()


@pytest.mark.parametrize(
    ("value", "taken"),
    [(5.0, 5), (-0.0, 0), (1e300, int(1e300)), (5, 5)],
)
def test_a_float_without_a_fraction_is_taken_for_an_integer(value, taken):
    result = whole_number(value)

    assert result == taken
    assert type(result) is int


@pytest.mark.parametrize("value", [5.5, float("inf"), "5", True, None, [5.0]])
def test_what_is_no_whole_number_stays_what_it_is(value):
    assert whole_number(value) is value
