"""The Python client against a real server."""

import asyncio
import subprocess
import sys

import httpx
import pytest
from tests.api.conftest import MISTRAL, MODEL
from tests.served import wait_until

from sirocco import AI, AsyncAI
from sirocco.client import AIAuthError, AIError, AIInputError, AILimitError

GREEDY = {"prompt": "the cat", "temperature": 0, "max_tokens": 12}


@pytest.fixture
def ai(server):
    with AI(server.url, server.account_id, server.secret) as client:
        yield client


def n_running(server):
    return len(server.engine.scheduler.running)


def test_a_whole_answer_is_its_result(ai, server):
    assert ai.run(MODEL, GREEDY) == server.run(GREEDY).json()["result"]


def test_a_streamed_answer_is_the_same_text(ai):
    whole = ai.run(MODEL, GREEDY)

    events = list(ai.run(MODEL, {**GREEDY, "stream": True}))

    assert "".join(event["response"] for event in events) == whole["response"]
    assert events[-1]["usage"] == whole["usage"]


def test_leaving_a_stream_early_ends_the_answer_on_the_server(ai, server):
    endless = {"prompt": "the cat", "stream": True, "max_tokens": 400, "temperature": 0}

    with ai.run(MODEL, endless) as events:
        next(events)
        assert n_running(server) == 1

    wait_until(lambda: n_running(server) == 0)
    (row,) = server.stores.usage.of_account(server.account_id)[-1:]
    assert row.output_tokens < 400


def test_the_environment_names_server_account_and_token(server, monkeypatch):
    monkeypatch.setenv("SIROCCO_URL", server.url + "/client/v4/")
    monkeypatch.setenv("SIROCCO_ACCOUNT_ID", server.account_id)
    monkeypatch.setenv("SIROCCO_API_TOKEN", server.secret)

    with AI() as client:
        assert client.run(MODEL, {"prompt": "x", "max_tokens": 1})["usage"]["total_tokens"] > 1


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(
    ("model", "inputs", "known"),
    [
        ("@cf/x/y", {"prompt": "x"}, (AIInputError, 400, 5007)),
        (MODEL, {"prompt": "x", "temperature": 9}, (AIInputError, 400, 5006)),
        (MODEL, {"prompt": "cat " * 2000}, (AIInputError, 413, 5021)),
        (MISTRAL, {"prompt": "x"}, (AILimitError, 503, 3040)),
    ],
)
def test_a_refusal_has_status_code_message_and_request_id(ai, model, inputs, known, is_streamed):
    with pytest.raises(AIError) as raised:
        ai.run(model, {**inputs, "stream": is_streamed})

    error = raised.value
    assert (type(error), error.status, error.code) == known
    assert error.message
    assert error.request_id
    assert error.request_id not in error.message
    assert error.request_id in str(error)


def test_a_wrong_token_is_told_apart(server):
    with (
        AI(server.url, server.account_id, "x" * 40) as client,
        pytest.raises(AIAuthError) as raised,
    ):
        client.run(MODEL, GREEDY)

    assert (raised.value.status, raised.value.code, raised.value.request_id) == (401, 10000, None)


def test_two_streams_share_a_client(ai):
    first = ai.run(MODEL, {**GREEDY, "stream": True})
    second = ai.run(MODEL, {**GREEDY, "stream": True})

    texts = [[a["response"], b["response"]] for a, b in zip(first, second, strict=True)]

    assert all(a == b for a, b in texts)


def test_the_same_with_an_event_loop(server):
    async def ask():
        async with AsyncAI(server.url, server.account_id, server.secret) as client:
            whole = await client.run(MODEL, GREEDY)
            async with await client.run(MODEL, {**GREEDY, "stream": True}) as events:
                text = "".join([event["response"] async for event in events])
            async with await client.run(MODEL, {**GREEDY, "stream": True}) as left:
                await anext(left)
            with pytest.raises(AIInputError):
                await client.run("@cf/x/y", GREEDY)
            return whole, text

    whole, text = asyncio.run(ask())

    assert whole["response"] == text
    wait_until(lambda: n_running(server) == 0)


def test_an_httpx_client_of_ones_own_stays_open(server):
    with httpx.Client() as http:
        with AI(server.url, server.account_id, server.secret, http=http) as client:
            client.run(MODEL, {"prompt": "x", "max_tokens": 1})

        assert not http.is_closed


def test_the_client_is_imported_without_torch_or_a_server():
    code = "import sys; from sirocco import AI, AsyncAI, AIError; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    imported = {name.split(".")[0] for name in done.stdout.split()}
    assert not imported & {"torch", "fastapi", "pydantic", "sqlalchemy", "uvicorn", "numpy"}


def test_a_look_inside_is_the_routes_result(ai):
    result = ai.inspect(MODEL, {"prompt": "the cat", "layers": [1], "heads": [0]})

    assert result["attention"]["shape"] == [1, 1, len(result["tokens"]), len(result["tokens"])]
    with pytest.raises(AIInputError, match="'/layers' must be in 0 … 1, got 2"):
        ai.inspect(MODEL, {"prompt": "the cat", "layers": [2]})


def test_the_blocks_of_a_stream_that_is_read_are_seen(ai):
    endless = {"prompt": "the cat", "stream": True, "max_tokens": 400, "temperature": 0}

    with ai.run(MODEL, endless) as events:
        next(events)
        view = ai.blocks(events.request_id)

    assert view["answers"][0]["blocks"]
    with pytest.raises(AIInputError) as caught:
        ai.blocks("0" * 32)
    assert (caught.value.status, caught.value.code) == (404, 7003)


def test_the_client_for_an_event_loop_looks_inside_too(server):
    async def look():
        async with AsyncAI(server.url, server.account_id, server.secret) as ai:
            endless = {"prompt": "the cat", "stream": True, "max_tokens": 400, "temperature": 0}
            async with await ai.run(MODEL, endless) as events:
                await anext(events)
                view = await ai.blocks(events.request_id)
            return view, await ai.inspect(MODEL, {"prompt": "the cat", "layers": []})

    view, result = asyncio.run(look())

    assert view["answers"][0]["running"]
    assert result["tokens"][0]["text"] == "<s>"
