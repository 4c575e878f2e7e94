"""The shapes of OpenAI's API, asked for with OpenAI's own client."""

import json

import httpx
import openai
import pytest
from tests.api.conftest import MODEL

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
NOW = {"type": "function", "function": {"name": "now", "parameters": {
    "type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"],
    "additionalProperties": False,
}}}  # fmt: skip
ASKED = [{"role": "user", "content": "the cat"}]


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(
        base_url=f"{server.url}/client/v4/accounts/{server.account_id}/ai/v1",
        api_key=server.secret, max_retries=0, timeout=60,
    ) as made:  # fmt: skip
        yield made


@pytest.fixture
def chat(client):
    """Ask for a chat completion of few tokens."""

    def ask(**options):
        asked = {"model": MODEL, "messages": ASKED, "max_tokens": 6, "seed": 1}
        return client.chat.completions.create(**(asked | options))

    return ask


def first_error(error):
    """What the server said, of which OpenAI's client shows the whole body."""
    return error.body["errors"][0]


def test_a_chat_completion_is_whole(chat):
    answer = chat()

    (choice,) = answer.choices
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert answer.usage.completion_tokens == 6
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 6


def test_it_is_the_answer_that_ai_run_gives(server, chat):
    whole = server.run({"messages": ASKED, "max_tokens": 6, "seed": 1}).json()

    assert chat().choices[0].message.content == whole["result"]["response"]


def test_a_chat_streams_its_role_its_text_its_end_and_its_usage(chat):
    chunks = list(chat(stream=True))

    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert text == chat().choices[0].message.content
    assert reasons == [None] * (len(reasons) - 1) + ["length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 6


def test_a_stream_leaves_its_usage_out_if_it_is_told_so(chat):
    chunks = list(chat(stream=True, stream_options={"include_usage": False}))

    assert all(chunk.usage is None for chunk in chunks)


def test_several_answers_come_with_their_index(chat):
    whole = chat(n=3, temperature=1.5)
    streamed = ["", "", ""]
    for chunk in chat(n=3, temperature=1.5, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""

    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert [choice.message.content for choice in whole.choices] == streamed
    assert len(set(streamed)) > 1
    assert whole.usage.completion_tokens == 18


def test_logprobs_come_with_alternatives(chat):
    (whole,) = chat(logprobs=True, top_logprobs=2, temperature=0).choices
    streamed = [
        entry
        for chunk in chat(logprobs=True, top_logprobs=2, temperature=0, stream=True)
        for choice in chunk.choices if choice.logprobs
        for entry in choice.logprobs.content
    ]  # fmt: skip

    assert len(whole.logprobs.content) == 6
    assert all(len(entry.top_logprobs) == 2 for entry in whole.logprobs.content)
    first = whole.logprobs.content[0]
    assert first.top_logprobs[0].logprob == first.logprob  # it was the likeliest
    assert bytes(first.bytes).decode("utf-8", "replace") == first.token
    assert streamed == whole.logprobs.content


def test_stop_ends_an_answer_before_the_string(chat):
    text = chat(max_tokens=20).choices[0].message.content

    answer = chat(max_tokens=20, stop=[text[3:5]])

    assert answer.choices[0].message.content == text[: text.index(text[3:5])]
    assert answer.choices[0].finish_reason == "stop"


def test_json_that_fulfils_a_schema(chat):
    wanted = {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON, "strict": True}}

    answer = chat(response_format=wanted, max_tokens=100, temperature=0)
    streamed = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in chat(response_format=wanted, max_tokens=100, temperature=0, stream=True)
        if chunk.choices
    )

    assert json.loads(answer.choices[0].message.content).keys() == {"name", "age"}
    assert streamed == answer.choices[0].message.content


def test_a_call_that_was_cut_off_ends_for_length_and_is_not_text(chat):
    asked = {"tools": [NOW], "tool_choice": "required", "max_tokens": 9}

    (whole,) = chat(**asked).choices
    chunks = [chunk.choices[0] for chunk in chat(**asked, stream=True) if chunk.choices]

    assert (whole.message.content, whole.message.tool_calls) == ("", None)
    assert whole.finish_reason == chunks[-1].finish_reason == "length"
    assert {chunk.delta.content for chunk in chunks} <= {"", None}
    assert all(chunk.delta.tool_calls is None for chunk in chunks)


def test_calls_before_the_one_that_was_cut_off_are_delivered(chat):
    """A program that goes on at `tool_calls` does not take a part for the whole."""
    for seed in range(1, 60):
        asked = {"tools": [NOW], "tool_choice": "required", "max_tokens": 70, "seed": seed,
                 "temperature": 1.0}  # fmt: skip
        (whole,) = chat(**asked).choices
        if whole.message.tool_calls and whole.finish_reason == "length":
            break

    assert [call.function.name for call in whole.message.tool_calls]
    assert (whole.message.content, whole.finish_reason) == (None, "length")
    chunks = [chunk.choices[0] for chunk in chat(**asked, stream=True) if chunk.choices]
    calls = [call for chunk in chunks for call in chunk.delta.tool_calls or ()]
    assert len(calls) == len(whole.message.tool_calls)
    assert chunks[-1].finish_reason == "length"


def test_a_tool_that_must_be_called_is_called_with_arguments_that_fulfil_its_schema(chat):
    (choice,) = chat(tools=[NOW], tool_choice="required", max_tokens=80,
                     parallel_tool_calls=False).choices  # fmt: skip

    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert call.function.name == "now"
    assert json.loads(call.function.arguments)["zone"] in ("UTC", "CET")


def test_a_call_streams_as_one_delta(chat):
    chunks = list(chat(tools=[NOW], tool_choice="required", max_tokens=80, stream=True,
                       parallel_tool_calls=False))  # fmt: skip

    deltas = [c.choices[0].delta for c in chunks if c.choices and c.choices[0].delta.tool_calls]
    (delta,) = deltas
    assert delta.tool_calls[0].index == 0
    assert delta.tool_calls[0].function.name == "now"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"


def test_a_conversation_with_a_call_and_its_result_goes_on(chat):
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}

    answer = chat(tools=[NOW], tool_choice="none", messages=[
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
    ])  # fmt: skip

    assert answer.choices[0].message.content


def test_a_completion_goes_on_with_a_text_without_a_template(server, client):
    asked = {"model": MODEL, "prompt": "the cat", "max_tokens": 5, "temperature": 0}
    answer = client.completions.create(**asked, logprobs=1)
    chunks = list(client.completions.create(**asked, stream=True))
    native = server.run({"prompt": "the cat", "raw": True, "max_tokens": 5, "temperature": 0})

    (choice,) = answer.choices
    assert choice.text == native.json()["result"]["response"]
    assert "".join(c.choices[0].text for c in chunks if c.choices) == choice.text
    assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) == 5
    assert choice.logprobs.text_offset[0] == 0
    assert chunks[-1].usage.completion_tokens == 5
    assert all(hasattr(c, "p") == bool(c.choices) for c in chunks)  # padding hides lengths


def test_a_response_is_whole(client):
    answer = client.responses.create(model=MODEL, input="the cat", instructions="Be brief.",
                                     max_output_tokens=5, temperature=0, top_p=0.5)  # fmt: skip

    assert answer.output_text
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 5
    assert (answer.instructions, answer.max_output_tokens) == ("Be brief.", 5)
    assert (answer.temperature, answer.top_p) == (0, 0.5)


def test_a_response_streams_as_named_events(client):
    asked = {"model": MODEL, "input": ASKED, "max_output_tokens": 5, "temperature": 0}
    events = list(client.responses.create(**asked, stream=True))

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert deltas == client.responses.create(**asked).output_text
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output_text == deltas


def test_models_that_are_here_are_listed(client):
    assert MODEL in [model.id for model in client.models.list()]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"messages": []}, "'/messages' must be >= 1"),
        ({"n": 200}, "'/n' must be <= 128"),
        ({"n": 5}, "'/n' must be <= 4"),  # the server runs four at a time
        ({"temperature": 9}, "'/temperature' must be <= 5"),
        ({"extra_body": {"functions": [{}]}}, "'/functions' is not supported"),
        ({"top_logprobs": 2}, "'/top_logprobs' needs '/logprobs'"),
        ({"logit_bias": {"x": 1}}, "'/logit_bias' must be token ids"),
        ({"logit_bias": {"9999": 1}}, "'/logit_bias' must be in 0"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
         "'/response_format' cannot be used"),
        ({"tools": [NOW], "response_format": {"type": "json_object"}}, "exclude each other"),
        ({"tools": [NOW, NOW]}, "must differ"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_name(chat, options, text):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(**options)

    assert text in first_error(caught.value)["message"]
    assert first_error(caught.value)["code"] == 5006


def test_an_unknown_model_is_refused_with_the_public_code(chat):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(model="@cf/nobody/nothing")

    assert first_error(caught.value)["code"] == 5007


def test_wrong_credentials_are_refused_as_openais_client_expects(client):
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="x" * 40).models.list()


def test_embeddings_are_refused_clearly(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=MODEL, input="x")
    assert "no embedding model is served" in first_error(caught.value)["message"]


def test_members_that_nothing_reads_are_named(server):
    url = f"{server.url}/client/v4/accounts/{server.account_id}/ai/v1/chat/completions"
    answer = httpx.post(url, headers=server.headers, timeout=60, json={
        "model": MODEL, "messages": ASKED, "max_tokens": 1, "user": "me", "store": False,
    })  # fmt: skip

    assert answer.headers["sirocco-unused"] == "user, store"


def test_leaving_a_stream_frees_its_blocks(server, chat):
    stream = chat(stream=True, max_tokens=400)
    next(iter(stream))
    stream.close()

    assert chat().choices[0].message.content
