"""Tools in words, and the grammar that holds an answer to them."""

import json

import pytest

from sirocco.engine.sampling.grammar import GrammarCompiler
from sirocco.engine.sampling.grammar_text import check_grammar
from sirocco.errors import InvalidInput
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.tokenizer.chat import encode_messages
from sirocco.tokenizer.tools import (
    CallsRead,
    begins_call,
    read_tool_calls,
    tool_grammar,
    with_tools,
)
from sirocco.types import Message, Tool, ToolCall

WEATHER = Tool(
    "getWeather", "The weather of a city.",
    '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
)  # fmt: skip
TIME = Tool("getTime")


def accepts(grammar, text):
    """Whether an answer may be this text, and then end."""
    state = GrammarCompiler(ByteTokenizer(), 259, {2}).start(grammar)
    for byte in text.encode():
        if not state.allowed()[3 + byte]:
            return False
        state.accept(3 + byte)
    return bool(state.allowed()[2])


def test_tools_stand_in_the_system_message_as_json():
    (system, user) = with_tools([Message("user", "Rain?")], [WEATHER, TIME])

    assert system.role == "system"
    lines = [json.loads(line) for line in system.content.splitlines() if line.startswith("{")]
    assert [line["name"] for line in lines] == ["getWeather", "getTime"]
    assert lines[0]["parameters"]["required"] == ["city"]
    assert user == Message("user", "Rain?")


def test_a_system_message_of_the_caller_stays_in_front():
    (system, _) = with_tools([Message("system", "Be brief."), Message("user", "Rain?")], [TIME])

    assert system.content.startswith("Be brief.\n\nYou can use these tools:")


def test_calls_and_results_become_text():
    call = ToolCall("getWeather", '{"city": "Oslo"}', "call_1")
    conversation = [
        Message("user", "Rain?"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "rain", tool_name="getWeather"),
    ]

    plain = with_tools(conversation, [])

    assert [(m.role, m.content) for m in plain] == [
        ("user", "Rain?"),
        ("assistant", '{"name": "getWeather", "arguments": {"city": "Oslo"}}'),
        ("user", "Result of getWeather: rain"),
    ]


def test_without_tools_a_conversation_is_as_it_was():
    messages = [Message("user", "a"), Message("assistant", "b")]

    assert with_tools(messages, []) == messages


def test_every_template_takes_tools():
    tokenizer = ByteTokenizer()

    for template in ("mistral-instruct", "llama2"):
        text = tokenizer.decode(
            encode_messages(tokenizer, [Message("user", "x")], template, [TIME])
        )
        assert "getTime" in text


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ("It rains.", True),
        ("It is {curly} inside.\nTwo lines", True),
        ('{"name":"getWeather","arguments":{"city":"Oslo"}}', True),
        (
            '[{"name":"getWeather","arguments":{"city":"Oslo"}},{"name":"getTime","arguments":{}}]',
            True,
        ),
        ('{"name":"getWeather","arguments":{}}', False),
        ('{"name":"other","arguments":{}}', False),
        ("{nonsense", False),
    ],
)
def test_an_answer_is_text_or_calls_that_fulfil_the_schema(text, is_taken):
    assert accepts(tool_grammar([WEATHER, TIME], must_call=False), text) is is_taken


def test_an_answer_that_must_call_has_no_text():
    grammar = tool_grammar([WEATHER, TIME], must_call=True, only="getTime")

    assert accepts(grammar, '{"name":"getTime","arguments":{}}')
    assert not accepts(grammar, "text")
    assert not accepts(grammar, '{"name":"getWeather","arguments":{"city":"x"}}')


@pytest.mark.parametrize(
    ("more", "is_taken"),
    [({}, False), ({"additionalProperties": True}, True), ({"anyOf": [{"type": "object"}]}, True)],
)
def test_arguments_that_the_schema_does_not_name_are_none(more, is_taken):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, **more}
    grammar = tool_grammar([Tool("getWeather", "", json.dumps(parameters))], must_call=True)

    call = '{"name":"getWeather","arguments":{"city":"Oslo"%s}}'
    assert accepts(grammar, call % "")
    assert accepts(grammar, call % ',"planet":"Mars"') is is_taken


def test_an_answer_may_be_held_to_one_call():
    grammar = tool_grammar([TIME], must_call=True, several=False)

    assert accepts(grammar, '{"name":"getTime","arguments":{}}')
    assert not accepts(grammar, '[{"name":"getTime","arguments":{}}]')


def test_calls_are_read_from_an_answer():
    assert read_tool_calls("It rains.") == CallsRead()
    assert read_tool_calls('{"name":"a","arguments":{}}') == CallsRead((ToolCall("a", "{}"),))
    assert read_tool_calls(
        '[{"name":"a","arguments":{}},{"name":"b","arguments":{"x":"é"}}]'
    ) == CallsRead((ToolCall("a", "{}"), ToolCall("b", '{"x": "é"}')))
    assert begins_call('[{"name"')
    assert not begins_call("")


CALLS = [
    ToolCall("a", "{}"),
    ToolCall("b", '{"x": [1, {"y": "},{"}]}'),
    ToolCall("c", '{"\\"": "]"}'),
]


@pytest.mark.parametrize("n_calls", [1, 2, 3])
@pytest.mark.parametrize("is_list", [True, False])
def test_an_answer_that_is_cut_off_anywhere_has_the_calls_that_were_whole(n_calls, is_list):
    calls = CALLS[:n_calls] if is_list else CALLS[n_calls - 1 : n_calls]
    written = [f'{{"name":"{call.name}","arguments":{call.arguments}}}' for call in calls]
    text = f"[{','.join(written)}]" if is_list else written[0]
    ends = [len(",".join(written[:n])) + is_list for n in range(1, len(calls) + 1)]

    assert read_tool_calls(text) == CallsRead(tuple(calls))
    for length in range(1, len(text)):
        n_whole = sum(end <= length for end in ends)
        cut_off = CallsRead(tuple(calls[:n_whole]), is_cut_off=True)
        assert read_tool_calls(text[:length]) == cut_off, text[:length]


@pytest.mark.parametrize(
    "rest", ['{"name":"b","arguments":{}}]', ",1]", ',"name"]', ",{}]", " ]", "}"]
)
def test_what_does_not_keep_to_the_grammar_is_left_out_with_all_that_follows(rest):
    first = CallsRead((ToolCall("a", "{}"),), is_cut_off=True)

    assert read_tool_calls('[{"name":"a","arguments":{}}' + rest) == first


def test_arguments_that_are_nested_beyond_reason_are_no_call():
    nested = '{"x":' * 100_000

    assert read_tool_calls(f'{{"name":"a","arguments":{nested}') == CallsRead(is_cut_off=True)


@pytest.mark.parametrize("name", ['x"y', "a b", "ü", "a\nb", "x" * 100])
def test_any_name_and_schema_of_a_tool_can_be_told_and_held(name):
    """Whatever a caller writes stays data in the grammar."""
    tool = Tool(
        name, 'say "hi" {x}', '{"type": "object", "properties": {"/a{b": {"const": "\\""}}}'
    )

    check_grammar(tool_grammar([tool], must_call=True))
    with_tools([], [tool])
    assert accepts(tool_grammar([tool], must_call=True), json.dumps(
        {"name": name, "arguments": {}}, separators=(",", ":"), ensure_ascii=False))  # fmt: skip


def test_a_schema_that_cannot_be_used_is_refused_as_the_tools():
    with pytest.raises(InvalidInput, match="'/tools' cannot be used"):
        check_grammar(tool_grammar([Tool("x", "", '{"type": "nonsense"}')], must_call=True))
