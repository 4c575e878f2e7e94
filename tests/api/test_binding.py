"""The binding protocol over a real connection, as the runtime and the old packages write it."""

import gzip
import json
import uuid

import httpx
import pytest
from tests.api.conftest import MISTRAL, MODEL
from tests.served import wait_until

from sirocco.wire.sse import Decoder

INPUTS = {"prompt": "the cat", "temperature": 0, "max_tokens": 12}


def ask(server, body, path="/run?version=3", **options):
    headers = {"cf-consn-model-id": MODEL, **server.headers, **options.pop("headers", {})}
    kind = "content" if isinstance(body, bytes) else "json"
    sent = {kind: body, "headers": headers, "timeout": 60, **options}
    return httpx.post(server.url + path, **sent)


def whole_text(server):
    return server.run(INPUTS).json()["result"]["response"]


def tensor_body(stream=False, prompt="<s>[INST]the cat[/INST]"):
    return gzip.compress(json.dumps({
        "input": [
            {"type": "str", "shape": [1], "name": "INPUT_0", "value": [prompt]},
            {"type": "uint32", "shape": [1], "name": "INPUT_1", "value": [12]},
        ],
        "stream": stream,
    }).encode())  # fmt: skip


@pytest.mark.parametrize("path", ["/run?version=3", "/ai-gateway/run?version=3"])
def test_the_answer_is_the_bare_result(server, path):
    response = ask(server, {"inputs": INPUTS, "options": {}}, path)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert uuid.UUID(response.headers["cf-ai-req-id"])
    assert response.json()["response"] == whole_text(server)
    assert list(response.json()) == ["response", "tool_calls", "usage"]


def test_a_stream_is_that_of_the_rest_route(server):
    response = ask(server, {"inputs": {**INPUTS, "stream": True}})

    *pieces, last, done = Decoder().feed(response.content)
    assert response.headers["content-type"] == "text/event-stream"
    assert "".join(json.loads(piece)["response"] for piece in pieces) == whole_text(server)
    assert json.loads(last)["usage"]["completion_tokens"] == 12
    assert done == "[DONE]"


def test_usage_is_kept_for_the_account_of_the_api_token(server):
    response = ask(server, {"inputs": INPUTS})

    def counted():
        rows = server.stores.usage.of_account(server.account_id)
        return response.headers["cf-ai-req-id"] in {row.request_id for row in rows}

    wait_until(counted)


def test_a_prefix_before_the_model_id_is_no_part_of_it(server):
    response = ask(server, {"inputs": INPUTS}, headers={"cf-consn-model-id": f"beta:{MODEL}"})

    assert response.status_code == 200


def test_options_that_nothing_reads_are_named(server):
    options = {"gateway": {"id": "x"}, "returnRawResponse": True, "rejectIfBusy": False}

    response = ask(server, {"inputs": {**INPUTS, "colour": 1}, "options": options})

    assert response.headers["sirocco-unused"] == "colour, options.gateway"


@pytest.mark.parametrize(
    ("body", "model_id", "status", "code", "description"),
    [
        ({"inputs": INPUTS}, "@cf/x/y", 400, 5007,
         "No such model @cf/x/y or task"),
        ({"inputs": {**INPUTS, "temperature": 9}}, MODEL, 400, 5006,
         "Error: '/temperature' must be <= 5, got 9"),
        ({"inputs": []}, MODEL, 400, 5006, "Error: Type mismatch of '/inputs', 'array' not in "
         "'object'"),
        ({"inputs": INPUTS}, "", 400, 5006, "Error: the header "
         "cf-consn-model-id, which names the model, is missing"),
        ({"inputs": INPUTS, "options": {"queueRequest": True}}, MODEL, 400, 5006,
         "Error: required properties at '/' are 'requests', which 'queueRequest' is for"),
        ({"inputs": {"prompt": "x " * 600, "stream": True}}, MODEL, 413, 5021, "The estimated"),
        ({"inputs": INPUTS}, MISTRAL, 503, 3040, "the weights of"),
        (b"", MODEL, 400, 3003, "Request is missing headers or body: body"),
        (b"\x1f\x8bnot gzip", MODEL, 400, 5006, "Error: the body is not valid gzip"),
    ],
)  # fmt: skip
def test_an_error_has_the_bindings_form(server, body, model_id, status, code, description):  # noqa: PLR0917
    response = ask(server, body, headers={"cf-consn-model-id": model_id})

    error = response.json()
    assert response.status_code == status
    assert list(error) == ["name", "internalCode", "httpCode", "message", "description",
                           "requestId"]  # fmt: skip
    assert (error["name"], error["internalCode"], error["httpCode"]) == ("AiError", code, status)
    assert error["description"].startswith(description)
    assert error["requestId"] == response.headers["cf-ai-req-id"]
    assert error["message"].endswith(f"({error['requestId']})")


def test_an_unknown_generation_is_refused(server):
    assert ask(server, {"inputs": INPUTS}, "/run?version=4").json()["internalCode"] == 5006


def test_inputs_that_are_streams_and_websockets_are_refused_by_name(server):
    stream = ask(server, b"\x00\x01", "/run?version=3&userInputs=%7B%7D")
    socket = httpx.get(f"{server.url}/run?version=3&body=%7B%7D", headers=server.headers)

    assert stream.json()["description"] == "Error: no model here takes a stream as its input"
    assert "'websocket' is not supported" in socket.json()["description"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [({}, 400, 9106), ({"Authorization": "Bearer " + "a" * 40}, 401, 10000)],
)
@pytest.mark.parametrize("path", ["/run?version=3", "/", "/ai-api/models/search"])
def test_nobody_gets_in_without_an_api_token(server, path, headers, status, code):
    method = "GET" if "models" in path else "POST"
    meant = {"MF-URL": "https://workers-binding.ai/run?version=3"} if path == "/" else {}

    response = httpx.request(method, server.url + path, headers=headers | meant)

    assert response.status_code == status
    assert [error["code"] for error in response.json()["errors"]] == [code]


def test_the_models_are_those_of_the_rest_route(server):
    rest = f"{server.url}/client/v4/accounts/{server.account_id}/ai/models/search?per_page=3"

    response = httpx.get(f"{server.url}/ai-api/models/search?per_page=3", headers=server.headers)

    assert response.json() == httpx.get(rest, headers=server.headers).json()
    assert len(response.json()["result"]) == 3


def test_a_faulty_search_is_told_where_the_runtime_looks(server):
    response = httpx.get(f"{server.url}/ai-api/models/search?page=0", headers=server.headers)

    assert response.status_code == 400
    assert "'/page' must be >= 1" in response.json()["errors"][0]["message"]


def test_the_second_generation_gets_gzip_that_no_header_tells_of(server):
    body = json.dumps({"inputs": INPUTS, "options": {}}).encode()

    response = ask(
        server, body, "/run?version=2",
        headers={"content-encoding": "application/json", "content-type": "text/plain"},
    )  # fmt: skip

    assert response.headers["content-type"] == "application/json"
    assert "content-encoding" not in response.headers
    assert json.loads(gzip.decompress(response.content))["response"] == whole_text(server)


def test_the_second_generation_streams_native_events(server):
    response = ask(server, {"inputs": {**INPUTS, "stream": True}}, "/run?version=2")

    assert Decoder().feed(response.content)[-1] == "[DONE]"


def test_the_first_generation_gets_tensors_for_tensors(server):
    response = ask(server, tensor_body(), "/run", headers={"content-encoding": "gzip"})

    (tensor,) = response.json()["result"]
    assert (tensor["type"], tensor["shape"], tensor["name"]) == ("str", [1], "name")
    (text,) = tensor["value"]
    raw = {"prompt": "<s>[INST]the cat[/INST]", "raw": True, "max_tokens": 12}
    assert len(text) > 0
    assert server.run({**raw, "stream": False}).status_code == 200


def test_the_first_generation_streams_tensors_without_an_end(server):
    response = ask(server, tensor_body(stream=True), "/run")

    events = [json.loads(event) for event in Decoder().feed(response.content)]
    assert response.headers["content-type"] == "text/event-stream"
    assert len(events) > 1
    assert {event["result"][0]["name"] for event in events} == {"name"}


def test_models_that_ran_on_vllm_get_their_prompt_back_first(server):
    given = [
        {"type": "str", "shape": [1], "name": "text_input", "value": ["the cat"]},
        {"type": "str", "shape": [1], "name": "sampling_parameters",
         "value": ['{"max_tokens": 3, "temperature": 0}']},
        {"type": "bool", "name": "stream", "value": True},
    ]  # fmt: skip

    whole = ask(server, {"input": given, "stream": False}, "/run").json()
    streamed = ask(server, {"input": given, "stream": True}, "/run")

    (text,) = whole["result"][0]["value"]
    pieces = [json.loads(e)["result"][0]["value"][0] for e in Decoder().feed(streamed.content)]
    assert text.startswith("the cat")
    assert pieces[0].startswith("the cat")
    assert "".join(pieces) == text


@pytest.mark.parametrize(
    "given",
    [
        None, {}, [], [1], [{"name": "INPUT_0"}], [{"name": "INPUT_0", "value": []}],
        [{"name": "INPUT_0", "value": [7]}], [{"name": "OTHER", "value": ["x"]}],
        [{"name": "text_input", "value": ["x"]},
         {"name": "sampling_parameters", "value": ["{"]}],
        [{"name": "INPUT_0", "value": ["x"]}, {"name": "INPUT_1", "value": [-1]}],
    ],
)  # fmt: skip
def test_faulty_tensors_are_refused(server, given):
    response = ask(server, {"input": given}, "/run")

    assert (response.status_code, response.json()["internalCode"]) == (400, 5006)


def test_a_bomb_is_not_unpacked_beyond_the_limit(server):
    limit = server.app.state.settings.max_body_bytes
    bomb = gzip.compress(b" " * (limit + 1))
    assert len(bomb) < limit // 100

    for path in ("/run", "/run?version=3"):
        response = ask(server, bomb, path)
        assert (response.status_code, response.json()["internalCode"]) == (413, 3006)


@pytest.mark.parametrize("spoil", [lambda packed: packed[:-4], lambda packed: packed + b"x"])
def test_gzip_that_is_not_whole_is_refused(server, spoil):
    response = ask(server, spoil(tensor_body()), "/run")

    assert "not valid gzip" in response.json()["description"]


def test_the_rest_route_reads_gzip_too(server):
    response = server.run(gzip.compress(json.dumps(INPUTS).encode()))

    assert response.json()["result"]["response"] == whole_text(server)


def proxy(server, account_id=None):
    return f"/client/v4/accounts/{account_id or server.account_id}/ai/run/proxy"


def test_wrangler_says_in_a_header_which_address_was_meant(server):
    meant = {"X-Forwarded": "https://workers-binding.ai/run?version=3"}

    response = ask(server, {"inputs": INPUTS}, proxy(server), headers=meant)

    assert response.json()["response"] == whole_text(server)


def test_the_first_wranglers_said_nothing_and_meant_tensors(server):
    response = ask(server, tensor_body(), proxy(server))

    assert response.json()["result"][0]["name"] == "name"


def test_wranglers_path_asks_for_an_api_token_of_its_account(server):
    response = ask(server, {"inputs": INPUTS}, proxy(server, "0" * 32))

    assert (response.status_code, response.json()["errors"][0]["code"]) == (401, 10000)


def test_wrangler_lists_the_models(server):
    meant = {"X-Forwarded": "https://workers-binding.ai/ai-api/models/search?search=mistral"}

    response = httpx.get(server.url + proxy(server), headers=server.headers | meant)

    assert MISTRAL in {model["name"] for model in response.json()["result"]}


@pytest.mark.parametrize("way", ["MF-Header-Authorization", "Authorization", "address"])
def test_miniflare_wraps_every_header(server, way):
    headers = {
        "MF-Binding": "AI",
        "MF-URL": "https://workers-binding.ai/run?version=3",
        "MF-Header-cf-consn-model-id": MODEL,
    }
    query = {"api_token": server.secret} if way == "address" else {}
    headers |= {way: server.headers["Authorization"]} if not query else {}

    response = httpx.post(
        server.url, json={"inputs": INPUTS}, headers=headers, params=query, timeout=60
    )

    assert response.json()["response"] == whole_text(server)


def test_an_address_that_the_binding_does_not_have_is_no_route(server):
    meant = {"MF-URL": "https://workers-binding.ai/client/v4/accounts"}

    response = httpx.post(server.url, headers=server.headers | meant)

    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, 7000)


def test_without_its_headers_the_front_page_is_for_people(server):
    assert "<title>Sirocco</title>" in httpx.get(server.url).text
    assert httpx.get(f"{server.url}/?MF-Binding=AI").status_code == 404
    assert httpx.post(server.url).status_code == 405
