"""Tools, calls and results, in the shapes that clients send."""

import json

import pytest

from sirocco.errors import InvalidInput
from sirocco.types import Message, Tool, ToolCall
from sirocco.wire.text_generation import calls_chunk, read_text_generation, whole_result
from sirocco.wire.tools import flat_calls, openai_calls

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FLAT = {"name": "getWeather", "description": "Rain?", "parameters": SCHEMA}
OPENAI = {"type": "function", "function": FLAT}
CALL = ToolCall("getWeather", '{"city": "Oslo"}', "call_1")


def read(**members):
    return read_text_generation({"prompt": "a", **members})


def refused(**members):
    with pytest.raises(InvalidInput) as caught:
        read(**members)
    return str(caught.value)


@pytest.mark.parametrize("shape", [FLAT, OPENAI, {"type": "function", **FLAT}])
def test_a_tool_is_read_in_either_shape(shape):
    assert read(tools=[shape]).offered == (Tool("getWeather", "Rain?", json.dumps(SCHEMA)),)


def test_a_tool_needs_a_name_alone():
    assert read(tools=[{"name": "now"}]).offered == (Tool("now", "", '{"type": "object"}'),)


@pytest.mark.parametrize(
    ("choice", "offered", "must_call", "only"),
    [
        (None, 1, False, None),
        ("auto", 1, False, None),
        ("none", 0, False, None),
        ("required", 1, True, None),
        ("any", 1, True, None),
        ({"type": "function", "function": {"name": "getWeather"}}, 1, True, "getWeather"),
        ({"name": "getWeather"}, 1, True, "getWeather"),
    ],
)
def test_the_choice_says_whether_a_tool_may_or_must_be_called(choice, offered, must_call, only):
    inputs = read(tools=[FLAT], tool_choice=choice)

    assert (len(inputs.offered), inputs.must_call, inputs.only_tool) == (offered, must_call, only)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"tools": "auto"}, "Type mismatch of '/tools', 'string' not in 'array'"),
        ({"tools": [{}]}, "required properties at '/tools/0' are 'name'"),
        ({"tools": [{"name": ""}]}, "Length of '/tools/0/name' must be >= 1, got 0"),
        ({"tools": [FLAT], "tool_choice": "maybe"}, "'/tool_choice' must be one of 'auto'"),
        ({"tools": [FLAT], "tool_choice": {"name": "x"}}, "'/tool_choice' must be one of '/tools'"),
        ({"tools": [FLAT, FLAT]}, "the names of '/tools' must differ"),
        ({"tools": [FLAT], "raw": True}, "'/raw' and '/tools' exclude each other"),
        (
            {"tools": [FLAT], "response_format": {"type": "json_object"}},
            "'/tools' and '/response_format' exclude each other",
        ),
    ],
)
def test_tools_that_cannot_be_used_are_refused_by_their_place(members, text):
    assert refused(**members).startswith(text)


def test_a_conversation_with_calls_and_results_is_read_in_either_shape():
    openai = {"id": "call_1", "type": "function",
              "function": {"name": "getWeather", "arguments": '{"city": "Oslo"}'}}  # fmt: skip
    flat = {"name": "getWeather", "arguments": {"city": "Oslo"}, "id": "call_1"}
    for call in (openai, flat):
        inputs = read_text_generation({"messages": [
            {"role": "user", "content": "Rain?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ]})  # fmt: skip

        assert inputs.subject == (
            Message("user", "Rain?"),
            Message("assistant", "", tool_calls=(CALL,)),
            Message("tool", "rain", tool_name="getWeather"),
        )


def test_calls_are_written_in_either_shape():
    assert flat_calls([CALL]) == [{"name": "getWeather", "arguments": {"city": "Oslo"}}]
    assert openai_calls([CALL]) == [{
        "id": "call_1", "type": "function",
        "function": {"name": "getWeather", "arguments": '{"city": "Oslo"}'},
    }]  # fmt: skip
    (call,) = openai_calls([ToolCall("now", "{}")])
    assert call["id"].startswith("call_")
    assert whole_result("", {}, [CALL])["tool_calls"] == flat_calls([CALL])


def test_calls_of_a_stream_are_told_apart_by_their_index():
    first, second = calls_chunk([CALL, CALL], "p")["tool_calls"]

    assert first == {**flat_calls([CALL])[0], "index": 0}
    assert second == {**flat_calls([CALL])[0], "index": 1}
