"""The body of a run: what is taken, what is refused and how, what is passed over."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sirocco.errors import InvalidInput
from sirocco.types import Message, SamplingParams
from sirocco.wire.text_generation import (
    TextGeneration,
    chunk,
    last_chunk,
    neurons_header,
    read_text_generation,
    unused_names,
    usage,
    whole_result,
)

NEITHER = (
    "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', "
    "required properties at '/' are 'messages'"
)
USER = {"role": "user", "content": "Hello"}


def read(**members: Any) -> TextGeneration:
    """Read a prompt with further members."""
    return read_text_generation({"prompt": "a"} | members)


def refused(members: dict[str, Any]) -> str:
    """Give the text in which a body is refused."""
    with pytest.raises(InvalidInput) as raised:
        read_text_generation(members)
    return str(raised.value)


# --- what is to be continued: prompt or messages ---


def test_a_prompt_is_the_subject():
    inputs = read_text_generation({"prompt": "What is grouped query attention"})

    assert inputs.subject == "What is grouped query attention"


def test_messages_are_the_subject_in_their_order():
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", ""), ("user", "Go on")]
    body = {"messages": [{"role": role, "content": text} for role, text in turns]}

    inputs = read_text_generation(body)

    assert inputs.subject == tuple(Message(role, text) for role, text in turns)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], ""),
        ([{"type": "text", "text": "Hello"}], "Hello"),
        ([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}], "Hello"),
        ([{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}], "Hello"),
    ],
)
def test_text_parts_of_a_message_are_joined(content, text):
    inputs = read_text_generation({"messages": [{"role": "user", "content": content}]})

    assert inputs.subject == (Message("user", text),)


@pytest.mark.parametrize("nothing", [{}, {"prompt": None}, {"messages": None, "stream": True}])
def test_without_prompt_and_messages_the_public_words_ask_for_one(nothing):
    assert refused(nothing) == NEITHER


def test_prompt_and_messages_together_are_refused():
    assert refused({"prompt": "a", "messages": [USER]}).startswith(
        "oneOf at '/' not met, 2 matches"
    )


def test_a_prompt_beside_messages_that_are_null_is_taken():
    assert read(messages=None).subject == "a"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"prompt": ""}, "Length of '/prompt' must be >= 1, got 0"),
        ({"prompt": 5}, "Type mismatch of '/prompt', 'integer' not in 'string'"),
        ({"prompt": ["a"]}, "Type mismatch of '/prompt', 'array' not in 'string'"),
        ({"messages": []}, "Number of items of '/messages' must be >= 1, got 0"),
        ({"messages": USER}, "Type mismatch of '/messages', 'object' not in 'array'"),
        ({"messages": "Hi"}, "Type mismatch of '/messages', 'string' not in 'array'"),
        ({"messages": ["Hi"]}, "Type mismatch of '/messages/0', 'string' not in 'object'"),
        ({"messages": [USER, {}]}, "required properties at '/messages/1' are 'role,content'"),
        (
            {"messages": [{"content": "Hi"}]},
            "required properties at '/messages/0' are 'role'",
        ),
        (
            {"messages": [{"role": "user", "content": None}]},
            "required properties at '/messages/0' are 'content'",
        ),
        (
            {"messages": [{"role": "judge", "content": "x"}]},
            "'/messages/0/role' must be one of 'system', 'developer', 'user', 'assistant' or "
            "'tool', got 'judge'",
        ),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "Type mismatch of '/messages/0/content', 'integer' not in 'string'",
        ),
        (
            {"messages": [{"role": "user", "content": ["Hi"]}]},
            "Type mismatch of '/messages/0/content/0', 'string' not in 'object'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "text": ""}]}]},
            "'/messages/0/content/0/type' must be one of 'text', 'input_text' or "
            "'output_text', got 'image_url'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "required properties at '/messages/0/content/0' are 'text'",
        ),
    ],
)
def test_a_subject_that_cannot_be_used_is_refused_by_its_place(body, text):
    assert refused(body) == text


@pytest.mark.parametrize(
    "wrong", [{"messages": [1] * 100_000}, {"messages": [USER | {"content": [1] * 100_000}]}]
)
def test_of_very_many_wrong_items_one_is_named(wrong):
    """Each of them in words would make of a small body a refusal of many megabytes."""
    assert len(refused(wrong)) < 200


# --- the sampling fields ---


def test_the_defaults_are_the_documented_ones():
    inputs = read()

    assert inputs.sampling == SamplingParams(max_tokens=256, temperature=0.6)
    assert (inputs.raw, inputs.stream, inputs.lora) == (False, False, None)
    assert inputs.options.reject_if_busy is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 1),
        ("max_tokens", 100_000),
        ("temperature", 0),
        ("temperature", 0.0),
        ("temperature", 5),
        ("top_p", 0.001),
        ("top_p", 1),
        ("top_k", 1),
        ("top_k", 50),
        ("seed", 1),
        ("seed", 9_999_999_999),
        ("repetition_penalty", 0.01),
        ("repetition_penalty", 2),
        ("frequency_penalty", -2),
        ("frequency_penalty", 2),
        ("presence_penalty", -2),
        ("presence_penalty", 2.0),
    ],
)
def test_a_value_at_its_limit_reaches_the_engine(name, value):
    assert getattr(read(**{name: value}).sampling, name) == value


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("max_tokens", 0, ">= 1"),
        ("max_tokens", -5, ">= 1"),
        ("temperature", -0.1, ">= 0"),
        ("temperature", 5.1, "<= 5"),
        ("top_p", 0, ">= 0.001"),
        ("top_p", 1.1, "<= 1"),
        ("top_k", 0, ">= 1"),
        ("top_k", 51, "<= 50"),
        ("seed", 0, ">= 1"),
        ("seed", 10_000_000_000, "<= 9999999999"),
        ("repetition_penalty", 0, ">= 0.01"),
        ("repetition_penalty", 2.1, "<= 2"),
        ("frequency_penalty", -2.1, ">= -2"),
        ("frequency_penalty", 2.1, "<= 2"),
        ("presence_penalty", -2.1, ">= -2"),
        ("presence_penalty", 2.1, "<= 2"),
    ],
)
def test_a_value_beyond_its_limit_is_refused_with_both(name, value, limit):
    text = refused({"prompt": "a", name: value})

    assert text == f"'/{name}' must be {limit}, got {value}"


@pytest.mark.parametrize("name", ["max_tokens", "top_k", "seed"])
def test_a_float_without_a_fraction_is_an_integer(name):
    value = getattr(read(**{name: 5.0}).sampling, name)

    assert value == 5
    assert type(value) is int


@pytest.mark.parametrize("name", ["max_tokens", "top_k", "seed"])
@pytest.mark.parametrize(
    ("value", "type_name"),
    [(5.5, "number"), ("5", "string"), (True, "boolean"), ([5], "array"), ({}, "object")],
)
def test_an_integer_field_takes_integers_alone(name, value, type_name):
    text = refused({"prompt": "a", name: value})

    assert text == f"Type mismatch of '/{name}', '{type_name}' not in 'integer'"


@pytest.mark.parametrize(
    "name",
    ["temperature", "top_p", "repetition_penalty", "frequency_penalty", "presence_penalty"],
)
@pytest.mark.parametrize(
    ("value", "type_name"), [("1", "string"), (True, "boolean"), ([1], "array"), ({}, "object")]
)
def test_a_number_field_takes_numbers_alone(name, value, type_name):
    text = refused({"prompt": "a", name: value})

    assert text == f"Type mismatch of '/{name}', '{type_name}' not in 'number'"


@pytest.mark.parametrize(
    ("stop", "strings"),
    [
        ("END", ("END",)),
        (["a", "b"], ("a", "b")),
        (["x"] * 16, ("x",) * 16),
        ([], ()),
        (None, ()),
    ],
)
def test_stop_is_one_string_or_up_to_sixteen(stop, strings):
    assert read(stop=stop).sampling.stop == strings


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("", "Length of '/stop' must be >= 1, got 0"),
        (["a", ""], "Length of '/stop/1' must be >= 1, got 0"),
        (["x"] * 17, "Number of items of '/stop' must be <= 16, got 17"),
        (5, "Type mismatch of '/stop', 'integer' not in 'string'"),
        ([5], "Type mismatch of '/stop/0', 'integer' not in 'string'"),
        ([None], "Type mismatch of '/stop/0', 'null' not in 'string'"),
        ({}, "Type mismatch of '/stop', 'object' not in 'string'"),
    ],
)
def test_stop_of_another_form_is_refused(stop, text):
    assert refused({"prompt": "a", "stop": stop}) == text


def test_every_wrong_field_is_named_at_once():
    text = refused({"prompt": "", "max_tokens": 0, "temperature": 9, "stream": []})

    for name in ("prompt", "max_tokens", "temperature", "stream"):
        assert f"'/{name}'" in text


# --- how the request is treated ---


@pytest.mark.parametrize("name", ["raw", "stream"])
@pytest.mark.parametrize(
    ("value", "taken"),
    [(True, True), (False, False), ("true", True), ("false", False), (1, True), (0, False)],
)
def test_a_switch_may_be_written_as_a_string(name, value, taken):
    """A curl example of the documentation has `"raw": "true"`."""
    assert getattr(read(**{name: value}), name) is taken


@pytest.mark.parametrize("name", ["raw", "stream"])
@pytest.mark.parametrize(
    ("value", "type_name"),
    [("perhaps", "string"), (2, "integer"), (0.5, "number"), ([], "array"), ({}, "object")],
)
def test_a_switch_of_another_kind_is_refused(name, value, type_name):
    text = refused({"prompt": "a", name: value})

    assert text == f"Type mismatch of '/{name}', '{type_name}' not in 'boolean'"


def test_raw_messages_are_refused():
    assert refused({"messages": [USER], "raw": True}).startswith("'/raw' needs '/prompt'")


def test_messages_that_are_not_raw_may_say_so():
    assert read_text_generation({"messages": [USER], "raw": False}).raw is False


def test_a_lora_is_read_for_the_service_to_judge():
    assert read(lora="my-finetune").lora == "my-finetune"


def test_a_lora_that_is_no_name_is_refused():
    assert "'/lora'" in refused({"prompt": "a", "lora": 5})


@pytest.mark.parametrize(
    ("options", "rejects"),
    [({}, False), ({"rejectIfBusy": True}, True), ({"rejectIfBusy": None}, False)],
)
def test_options_tell_to_reject_rather_than_wait(options, rejects):
    assert read(options=options).options.reject_if_busy is rejects


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "Type mismatch of '/options', 'array' not in 'object'"),
        ({"rejectIfBusy": "true"},
         "Type mismatch of '/options/rejectIfBusy', 'string' not in 'boolean'"),
    ],
)  # fmt: skip
def test_options_of_another_form_are_refused(options, text):
    assert refused({"prompt": "a", "options": options}) == text


@pytest.mark.parametrize(
    "name",
    [
        "raw", "stream", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "lora",
        "repetition_penalty", "frequency_penalty", "presence_penalty", "options", "tools",
        "response_format",
    ],
)  # fmt: skip
def test_a_member_that_is_null_is_as_good_as_absent(name):
    assert read(**{name: None}) == read()


def test_nulls_in_messages_are_as_good_as_absent():
    turn = USER | {"name": None, "tool_calls": None}

    assert read_text_generation({"messages": [turn]}).subject == (Message("user", "Hello"),)


# --- what this version does not do ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("functions", [{"name": "sum", "code": "return 1"}]),
    ],
)
def test_what_is_not_supported_is_refused_by_name(name, value):
    assert refused({"prompt": "a", name: value}).startswith(f"'/{name}' is not supported")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", []),
        ("functions", []),
        ("response_format", {"type": "text"}),
        ("response_format", {}),
        ("requests", []),
    ],
)
def test_what_asks_for_nothing_is_passed_over(name, value):
    assert read(**{name: value}) == read()


# --- members that nothing reads ---


def test_unknown_members_are_tolerated():
    inputs = read(gamma=True, model="x", options={"gateway": {"id": "g"}})

    assert inputs == read()


def test_unknown_members_are_named_in_their_order():
    members = {
        "zeta": 1, "prompt": "a", "max_tokens": 5, "gamma": True, "tools": [],
        "options": {"gateway": {}, "rejectIfBusy": True, "tags": []}, "\ud800": 0,
    }  # fmt: skip

    assert unused_names(members) == [
        "zeta", "gamma", "\ud800", "options.gateway", "options.tags",
    ]  # fmt: skip


def test_documented_members_are_not_named():
    members = dict.fromkeys(TextGeneration.model_fields) | {"tools": [], "response_format": {}}

    assert unused_names(members) == []


# --- results ---


def test_usage_counts_both_sides():
    counts = {
        "prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21,
        "prompt_tokens_details": {"cached_tokens": 4},
    }  # fmt: skip
    assert usage(12, 9, 4) == counts
    assert usage(12, 9, 4, neurons=0.2757) == counts | {"neurons": 0.2757}


def test_neurons_have_two_decimals_in_a_header():
    assert [neurons_header(n) for n in (0.0, 1.976, 12345.6)] == ["0.00", "1.98", "12345.60"]


def test_results_have_the_documented_members_in_order():
    counts = usage(12, 9)

    assert list(whole_result("Hi", counts).items()) == [
        ("response", "Hi"), ("tool_calls", []), ("usage", counts),
    ]  # fmt: skip
    assert list(chunk("Hi", "abd").items()) == [("response", "Hi"), ("p", "abd")]
    assert list(last_chunk(counts).items()) == [("response", ""), ("usage", counts)]


# --- anything at all ---

_TEXT = st.text(st.characters(), max_size=6)  # with lone surrogates
_LEAF = (
    st.none() | st.booleans() | st.integers(-3, 60) | st.integers() | _TEXT
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([10**400, -(10**400), 1e300, "text", "user", "true", ""])
)  # fmt: skip
_VALUE = st.recursive(
    _LEAF,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "rejectIfBusy"]) | _TEXT,
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
_KNOWN = [*TextGeneration.model_fields, "tools", "response_format"]


_MEMBERS = st.dictionaries(st.sampled_from(_KNOWN) | _TEXT, _VALUE, max_size=6)


@given(_MEMBERS | _MEMBERS.map(lambda members: {"prompt": "a"} | members))
@example({"prompt": "a", "max_tokens": 10**400})
@example({"prompt": "a", "max_tokens": -(10**400)})
@example({"prompt": "a", "temperature": 10**400})
@example({"prompt": "\ud800"})
@example({"prompt": "a", "stop": "\ud800"})
@example({"messages": [{"role": "\ud800", "content": "\ud800"}]})
@settings(deadline=None)
def test_any_object_is_a_request_or_invalid_input(members):
    try:
        inputs = read_text_generation(members)
        sampling = inputs.sampling
    except InvalidInput as error:
        str(error).encode()  # fails where the refusal itself could not be sent
        return
    assert isinstance(inputs, TextGeneration)
    assert isinstance(sampling, SamplingParams)
    assert inputs.subject


_FIELDS = {
    "max_tokens": st.integers(1, 10**30) | st.integers(1, 1000).map(float),
    "temperature": st.floats(0, 5),
    "top_p": st.floats(0.001, 1),
    "top_k": st.integers(1, 50),
    "seed": st.integers(1, 9_999_999_999),
    "repetition_penalty": st.floats(0.01, 2),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.floats(-2, 2),
    "stop": st.text(min_size=1, max_size=4)
    | st.lists(st.text(min_size=1, max_size=4), max_size=16),
    "raw": st.booleans(),
    "stream": st.booleans(),
}


@given(st.fixed_dictionaries({"prompt": st.text(min_size=1, max_size=9)}, optional=_FIELDS))
@settings(deadline=None)
def test_every_body_within_the_documented_limits_is_taken(members):
    inputs = read_text_generation(members)

    assert inputs.subject == members["prompt"]
    assert inputs.sampling.max_tokens == members.get("max_tokens", 256)


def test_a_batch_that_is_not_to_be_queued_is_told_what_it_lacks():
    assert "'queueRequest'" in refused({"requests": [{"prompt": "a"}]})
    assert "/requests" in refused({"prompt": "a", "requests": [{"prompt": "a"}]})
