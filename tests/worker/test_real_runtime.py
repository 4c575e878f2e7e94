"""Scripts as people wrote and write them, in the real Workers runtime, asking our server."""

import itertools
import json
import socket
import threading
import time

import httpx
import pytest
from tests.api.conftest import MISTRAL
from tests.served import wait_until

from sirocco.wire.sse import Decoder
from sirocco.worker.config import write_config
from sirocco.worker.project import Project
from sirocco.worker.runtime import Runtime

POST = """
import { Ai } from '@cloudflare/ai';
export default {
    async fetch(request, env) {
        const ai = new Ai(env.AI);
        const stream = await ai.run('@cf/mistral/mistral-7b-instruct-v0.1', {
            prompt: 'What is grouped query attention',
            stream: true
        });
        return Response.json(stream, { headers: { "content-type": "text/event-stream" } });
    }
}
"""
"""The announcement's script, but for its typographic quotes."""

STREAMING = POST.replace("Response.json(stream", "new Response(stream").replace(
    "stream: true", "stream: true, temperature: 0"
)
"""What it should have been; the tiny model's greedy answers do not end before their limit."""

WITH_PACKAGE = """
import { Ai } from '%s';
export default {
    async fetch(request, env) {
        const ai = new Ai(env.AI);
        const messages = [{ role: 'user', content: 'What is grouped query attention' }];
        if (new URL(request.url).pathname === '/whole')
            return Response.json(await ai.run('%s', { messages, max_tokens: 8 }));
        const stream = await ai.run('%s', { messages, stream: true, max_tokens: 8 });
        return new Response(stream, { headers: { 'content-type': 'text/event-stream' } });
    }
}
"""

MODERN = """
export default {
    async fetch(request, env) {
        const { model, inputs, options } = await request.json();
        try {
            const answer = await env.AI.run(model, inputs, options);
            return Response.json({ answer, id: env.AI.lastRequestId });
        } catch (error) {
            return Response.json({
                name: error.name, message: error.message, id: env.AI.lastRequestId,
                status: env.AI.lastRequestHttpStatusCode,
                internal: env.AI.lastRequestInternalStatusCode,
            }, { status: 502 });
        }
    }
}
"""


def texts(events):
    return "".join(json.loads(event).get("response") or "" for event in events)


def ask_modern(url, inputs, model=MISTRAL, options=None):
    body = {"model": model, "inputs": inputs, "options": options or {}}
    return httpx.post(url, json=body, timeout=60)


def n_made_for_nobody(asked, before):
    """Wait for the end of the one answer that has come since; give its number of tokens."""
    wait_until(lambda: asked.n_output_tokens().keys() > before.keys() and asked.is_idle)
    ((_, n_tokens),) = asked.n_output_tokens().items() - before.items()
    return n_tokens


@pytest.mark.usefixtures("slow_steps")
def test_the_announcements_script_answers_what_it_did_and_leaves_nothing_behind(asked, run_script):
    """`Response.json(stream)` is `{}`; the stream is nobody's, so its answer must end."""
    wait_until(asked.n_output_tokens)  # the row of the request that started the engine
    before = asked.n_output_tokens()

    with run_script(POST) as url:
        response = httpx.get(url, timeout=60)

        assert (response.status_code, response.text) == (200, "{}")
        assert response.headers["content-type"] == "text/event-stream"
        assert n_made_for_nobody(asked, before) < 128  # of 256


@pytest.mark.usefixtures("slow_steps")
def test_its_corrected_form_streams_piece_by_piece(run_script):
    arrivals_s, content = [], b""

    with run_script(STREAMING) as url, httpx.stream("GET", url, timeout=60) as response:
        for piece in response.iter_raw():
            arrivals_s.append(time.monotonic())
            content += piece

    *events, last, done = Decoder().feed(content)
    n_tokens = json.loads(last)["usage"]["completion_tokens"]
    assert done == "[DONE]"
    assert texts(events)
    assert len(arrivals_s) > n_tokens / 4
    # It took 10 ms a token to make. Had it been collected on the way, all would come at once.
    assert arrivals_s[-1] - arrivals_s[0] > 0.008 * n_tokens
    longest_gap_s = max(b - a for a, b in itertools.pairwise(arrivals_s))
    assert longest_gap_s < (arrivals_s[-1] - arrivals_s[0]) / 3


@pytest.mark.usefixtures("slow_steps")
def test_a_client_that_leaves_in_the_middle_ends_the_answer(asked, run_script):
    wait_until(asked.n_output_tokens)  # the row of the request that started the engine
    before = asked.n_output_tokens()

    with run_script(STREAMING) as url:
        with httpx.stream("GET", url, timeout=60) as response:
            next(response.iter_raw())
            assert not asked.is_idle

        assert n_made_for_nobody(asked, before) < 128  # of 256


@pytest.mark.parametrize("package", ["ai-1.0.38", "ai-1.0.53", "ai-1.1.0", "@cloudflare/ai"])
def test_every_generation_of_the_package_gets_its_answers(run_script, tools, package):
    assert (tools.packages / package).is_dir()

    said = []
    with run_script(WITH_PACKAGE % (package, MISTRAL, MISTRAL)) as url:
        for _ in range(4):  # the oldest cannot ask for a seed, and an answer may end at once
            whole = httpx.get(f"{url}/whole", timeout=60)
            streamed = httpx.get(f"{url}/stream", timeout=60)

            assert whole.status_code == 200, whole.text
            *events, done = Decoder().feed(streamed.content)
            assert done == "[DONE]"
            said.append((whole.json()["response"], texts(events)))

    assert all(any(texts_of_one) for texts_of_one in zip(*said, strict=True))


def test_a_conversation_is_answered_with_usage_and_request_id(run_script):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "the cat"},
    ]

    with run_script(MODERN) as url:
        body = ask_modern(url, {"messages": messages, "max_tokens": 5, "temperature": 0}).json()

    assert list(body["answer"]) == ["response", "tool_calls", "usage"]
    assert body["answer"]["usage"]["completion_tokens"] == 5
    assert len(body["id"]) == 36


@pytest.mark.parametrize(
    ("inputs", "model", "status", "internal", "message"),
    [
        ({"prompt": "x"}, "@cf/x/y", 400, 5007, "5007: No such model @cf/x/y or task"),
        ({}, MISTRAL, 400, 5006, "5006: Error: oneOf at '/' not met, 0 matches"),
        ({"prompt": "x", "stream": True, "temperature": 9}, MISTRAL, 400, 5006,
         "5006: Error: '/temperature' must be <= 5, got 9"),
        ({"prompt": "x " * 900, "stream": True}, MISTRAL, 413, 5021, "5021: The estimated"),
    ],
)  # fmt: skip
def test_a_script_catches_errors_by_name_and_code(  # noqa: PLR0917
    run_script, inputs, model, status, internal, message
):
    with run_script(MODERN) as url:
        error = ask_modern(url, inputs, model).json()

    assert error["name"] == "AiError"
    assert error["message"].startswith(message)
    assert (error["status"], error["internal"]) == (status, internal)
    assert len(error["id"]) == 36


def test_an_option_of_the_platform_arrives(run_script):
    with run_script(MODERN) as url:
        body = ask_modern(
            url, {"prompt": "x", "max_tokens": 2}, options={"gateway": {"id": "mine"}}
        ).json()

    assert body["answer"]["usage"]["completion_tokens"] == 2


def test_a_script_queues_a_batch_and_asks_until_its_results_are_there(run_script):
    requests = [
        {"prompt": "x", "max_tokens": 2, "external_reference": "first"},
        {"prompt": "x", "temperature": 9},
    ]
    with run_script(MODERN) as url:
        queued = ask_modern(url, {"requests": requests}, options={"queueRequest": True}).json()
        assert queued["answer"]["status"] == "queued", queued
        question = {"request_id": queued["answer"]["request_id"]}
        told = []

        def is_done():
            told.append(ask_modern(url, question).json()["answer"])
            return "responses" in told[-1]

        wait_until(is_done)

    good, bad = told[-1]["responses"]
    assert (good["success"], good["external_reference"]) == (True, "first")
    assert good["result"]["usage"]["completion_tokens"] == 2
    assert (bad["success"], bad["errors"][0]["code"]) == (False, 5006)
    assert {answer["status"] for answer in told[:-1]} <= {"queued", "running"}
    assert told[-1]["usage"]["completion_tokens"] == 2


def test_a_server_behind_tls_is_asked_over_tls(tools, tmp_path):
    """What listens here does not speak it; that the runtime tries is seen from its first bytes."""
    code = (
        b"export default { async fetch(_, env) { return Response.json(await env.AI.run('m', {})) }}"
    )
    heard = []

    def listen(server):
        connection, _ = server.accept()
        with connection:
            heard.append(connection.recv(3))

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        config = write_config(Project(tmp_path / "x.js"), code, url, "t" * 40, tmp_path)
        listener = threading.Thread(target=listen, args=[server], daemon=True)
        listener.start()
        runtime = Runtime(tools.workerd, config, listening, lambda _: None)
        try:
            status = httpx.get(
                f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30
            ).status_code
        finally:
            runtime.stop()

    assert status == 500
    assert heard == [b"\x16\x03\x01"]  # a handshake of TLS


def test_the_models_are_listed(run_script):
    code = "export default { async fetch(_, env) { return Response.json(await env.AI.models(" \
           "{ search: 'mistral-7b-instruct-v0.1' })) } }"  # fmt: skip

    with run_script(code) as url:
        names = {model["name"] for model in httpx.get(url, timeout=60).json()}

    assert MISTRAL in names


def test_variables_and_a_binding_of_another_name(run_script):
    code = "export default { async fetch(_, env) { const { MIND, ...rest } = env; " \
           "return Response.json({ ...rest, has: typeof MIND.run }) } }"  # fmt: skip
    variables = {"TEXT": 'a "quoted"\n\\line\x00 ü', "LIST": [1, {"a": None}], "NO": False}

    with run_script(code, ai="MIND", variables=variables) as url:
        body = httpx.get(url, timeout=60).json()

    assert body == {**variables, "has": "function"}


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("return new Response(null, { status: 204 })", 204, ""),
        ("return new Response('abc', { status: 418, headers: { 'content-length': '3' } })",
         418, "abc"),
        ("return Response.redirect('https://a.example/', 302)", 302, ""),
        ("throw new Error('oops')", 500, "Error: oops\n"),
        ("return new Response(await request.text(), request)", 200, "sent"),
    ],
)  # fmt: skip
def test_other_answers_pass_the_door_as_they_are(run_script, code, status, text):
    script = "export default { async fetch(request, env) { %s } }" % code  # noqa: UP031

    with run_script(script) as url:
        response = httpx.post(url, content=b"sent", timeout=60)

    assert (response.status_code, response.text) == (status, text)
