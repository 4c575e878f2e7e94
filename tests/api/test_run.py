"""The announcement's request, over a real connection."""

import json
import re
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import httpx
import pytest
from tests.api.conftest import MISTRAL, MODEL
from tests.served import wait_until

from sirocco.store.tables import utc_now
from sirocco.types import FinishReason
from sirocco.wire import sse
from sirocco.wire.sse import Decoder

GREEDY = {"prompt": "the cat", "temperature": 0, "max_tokens": 12}


def events_of(response):
    return Decoder().feed(response.content)


def has_come(server, n):
    """Tell whether the engine's thread has so many requests, or will take them before a step.

    That the event loop has sent them is not enough: on a busy machine they may be on their way.
    """
    scheduler = server.engine.scheduler
    n_inside = len(scheduler.waiting) + len(scheduler.running)
    return n_inside + server.thread.host._inbox.qsize() == n


def usage_rows(server, since):
    return server.stores.usage.of_account(server.account_id, since=since)


def n_held_blocks(server):
    blocks = server.engine.scheduler.blocks
    return blocks.n_blocks - blocks.n_free


def n_made(server):
    """Output tokens of the answers that are running."""
    return sum(seq.n_output_tokens for seq in list(server.engine.scheduler.running))


def test_an_answer_comes_in_the_envelope(server):
    response = server.run(GREEDY)

    body = response.json()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert list(body) == ["result", "success", "errors", "messages"]
    assert (body["success"], body["errors"], body["messages"]) == (True, [], [])
    assert list(body["result"]) == ["response", "tool_calls", "usage"]
    assert body["result"]["usage"]["completion_tokens"] == 12
    assert uuid.UUID(response.headers["cf-ai-req-id"])


def test_a_streamed_answer_is_events_of_pieces_then_usage_then_done(server):
    whole = server.run(GREEDY).json()["result"]

    response = server.run({**GREEDY, "stream": True})

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert uuid.UUID(response.headers["cf-ai-req-id"])
    *pieces, last, done = events_of(response)
    assert done == "[DONE]"
    assert json.loads(last) == {"response": "", "usage": whole["usage"]}
    assert all(list(json.loads(piece)) == ["response", "p"] for piece in pieces)
    assert "".join(json.loads(piece)["response"] for piece in pieces) == whole["response"]
    assert re.fullmatch(rb"(data: [^\n]+\n\n)+", response.content)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "apbplication/json"},
        {"Content-Type": "text/plain;charset=UTF-8", "Content-Encoding": "application/json"},
        {"Content-Type": ""},
    ],
    ids=lambda headers: headers["Content-Type"],
)
def test_a_body_is_read_as_json_whatever_its_type(server, headers):
    response = server.run(json.dumps(GREEDY).encode(), headers=headers)

    assert response.json()["success"] is True


def test_a_model_id_may_have_its_slashes_encoded(server):
    response = server.run(GREEDY, model_id=quote(MODEL, safe="@"))

    assert response.json()["success"] is True


def test_members_that_are_null_are_absent(server):
    response = server.run({**GREEDY, "stop": None, "messages": None, "lora": None})

    assert response.json()["success"] is True


def test_a_conversation_is_answered(server):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": text} for text in ("the ", "cat")]},
        {"role": "assistant", "content": "sat"},
        {"role": "user", "content": "on?"},
    ]  # fmt: skip

    body = server.run({"messages": messages, "max_tokens": 3}).json()

    assert body["result"]["usage"]["completion_tokens"] == 3


def test_a_prompt_gets_the_models_template_unless_it_is_raw(server):
    in_template = server.run(GREEDY).json()["result"]["usage"]["prompt_tokens"]
    raw = server.run({**GREEDY, "raw": "true"}).json()["result"]["usage"]["prompt_tokens"]
    by_hand = server.run({**GREEDY, "raw": True, "prompt": "<s>[INST]the cat[/INST]"}).json()

    assert in_template == raw + 2
    assert by_hand["result"]["usage"]["prompt_tokens"] == in_template
    assert by_hand["result"]["response"] == server.run(GREEDY).json()["result"]["response"]


def test_the_same_seed_gives_the_same_answer(server):
    asked = {"prompt": "the cat", "temperature": 2, "max_tokens": 20}

    first, same, other = (
        server.run({**asked, "seed": seed}).json()["result"]["response"] for seed in (7, 7, 8)
    )

    assert first == same != other


def test_an_answer_ends_before_a_stop_string(server):
    whole = server.run(GREEDY).json()["result"]["response"]
    stop = whole[len(whole) // 2 :][:2]

    body = server.run({**GREEDY, "stop": [stop]}).json()

    assert body["result"]["response"] == whole[: whole.find(stop)]


def test_members_that_nothing_reads_are_named_in_a_header(server):
    response = server.run({**GREEDY, "parallel": "auto", "naïve\n": 1,
                           "options": {"gateway": {"id": "x"}}})  # fmt: skip

    assert response.headers["sirocco-unused"] == "parallel, na%C3%AFve%0A, options.gateway"
    assert "sirocco-unused" not in server.run(GREEDY).headers


@pytest.mark.parametrize(
    ("body", "status", "code", "named"),
    [
        (b"", 400, 3003, "body"),
        (b"{", 400, 5006, "not valid JSON"),
        (b"[" * 200_000, 400, 5006, "more than 20000 values"),
        (b"\xff\xfe\x00", 400, 5006, "not valid JSON"),
        (b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", 400, 5006, "5000 characters"),
        ([1], 400, 5006, "'array' not in 'object'"),
        ({}, 400, 5006, "required properties at '/' are 'prompt'"),
        ({"prompt": "x", "messages": []}, 400, 5006, "2 matches"),
        ({"prompt": 5}, 400, 5006, "'/prompt', 'integer' not in 'string'"),
        ({"prompt": ""}, 400, 5006, "Length of '/prompt' must be >= 1, got 0"),
        ({"prompt": "x", "temperature": 5.1}, 400, 5006, "'/temperature' must be <= 5, got 5.1"),
        (b'{"prompt": "x", "temperature": NaN}', 400, 5006, "NaN"),
        ({"prompt": "x", "max_tokens": 0}, 400, 5006, "'/max_tokens' must be >= 1, got 0"),
        ({"prompt": "x", "top_k": 51}, 400, 5006, "'/top_k' must be <= 50, got 51"),
        ({"messages": [{"role": "user"}]}, 400, 5006, "'/messages/0' are 'content'"),
        ({"prompt": "x", "functions": [{"name": "f"}]}, 400, 5006, "'/functions' is not supp"),
        ({"prompt": "x", "tools": [{"name": ""}]}, 400, 5006, "'/tools/0/name' must be >= 1"),
        ({"prompt": "x", "guided_json": {"type": "y"}}, 400, 5006, "'/guided_json' cannot be used"),
        ({"prompt": "x", "lora": "mine"}, 405, 5005, "does not support LoRa"),
        ({"prompt": "the cat " * 400}, 413, 5021, "(512)"),
        ({"prompt": "the cat " * 1_000_000}, 413, 5021, "(512)"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name_and_the_engine_goes_on(server, body, status, code, named):
    response = server.run(body)

    envelope = response.json()
    (error,) = envelope["errors"]
    assert (response.status_code, error["code"]) == (status, code)
    assert named in error["message"]
    assert error["message"].endswith(f"({response.headers['cf-ai-req-id']})")
    assert (envelope["success"], envelope["result"], envelope["messages"]) == (False, {}, [])
    assert server.run(GREEDY).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("ai/run", {"model": "@cf/\ud800", "input": {"prompt": "x"}}),
        (
            "ai/v1/chat/completions",
            {"model": "\udfff", "messages": [{"role": "user", "content": "x"}]},
        ),
        ("ai/v1/completions", {"model": MODEL, "prompt": "x", "logit_bias": {"\ud800": 1}}),
        ("ai/v1/completions", {"model": MODEL, "prompt": "x", "logit_bias": {"\ud800": "x"}}),
    ],
)
def test_half_a_surrogate_pair_in_what_an_error_repeats_is_no_fault_of_ours(server, path, body):
    url = f"{server.url}/client/v4/accounts/{server.account_id}/{path}"

    response = httpx.post(url, content=json.dumps(body), headers=server.headers, timeout=60)

    assert response.status_code == 400


def test_a_lone_surrogate_is_refused_not_a_crash(server):
    response = server.run(b'{"prompt": "a\\ud800b", "max_tokens": 2}')

    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, 5006)
    assert "half of a character" in response.json()["errors"][0]["message"]


def test_a_body_beyond_the_limit_is_refused(server):
    response = server.run(b" " * 9_000_000)

    assert (response.status_code, response.json()["errors"][0]["code"]) == (413, 3006)
    assert "8388608" in response.json()["errors"][0]["message"]


def test_an_unknown_model_is_refused(server):
    response = server.run(GREEDY, model_id="@cf/x/y")

    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert error["code"] == 5007
    assert error["message"].startswith("AiError: No such model: No such model @cf/x/y or task (")


def test_a_model_without_weights_is_refused_with_the_way_out(server):
    response = server.run(GREEDY, model_id=MISTRAL)

    assert (response.status_code, response.json()["errors"][0]["code"]) == (503, 3040)
    assert "--stand-in" in response.json()["errors"][0]["message"]
    assert response.headers["retry-after"] == "1"


def test_the_first_event_comes_before_the_last_token_is_computed(server, gate):
    gate.open(6)
    with httpx.stream("POST", server.path(), json={**GREEDY, "stream": True},
                      headers=server.headers, timeout=30) as response:  # fmt: skip
        decoder = Decoder()
        chunks = response.iter_bytes()
        events = decoder.feed(next(chunks))
        n_computed = n_made(server)
        gate.open(100)
        for chunk in chunks:
            events += decoder.feed(chunk)

    assert 1 <= n_computed <= 6
    assert events[-1] == "[DONE]"


def ask_by_hand(server, body):
    """Send a request and give the open socket, which the test may close at any moment."""
    url = httpx.URL(server.path())
    content = json.dumps(body).encode()
    head = (
        f"POST {url.raw_path.decode()} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {server.secret}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection((url.host, url.port))
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("n_steps", [0, 5])
def test_a_client_that_leaves_frees_its_blocks_by_the_next_step(server, gate, stream, n_steps):
    began = utc_now()
    scheduler = server.engine.scheduler
    connection = ask_by_hand(server, {**GREEDY, "max_tokens": 400, "stream": stream})
    wait_until(lambda: scheduler.has_work)
    seq = next(iter([*scheduler.waiting, *scheduler.running]))
    gate.open(n_steps)
    wait_until(lambda: n_made(server) == n_steps)

    connection.close()
    # The abort comes while a step is held, or just before it is.
    wait_until(lambda: server.thread.host._inbox.qsize() == 1 or not scheduler.has_work)
    gate.open(1)
    wait_until(lambda: not scheduler.has_work)

    assert n_held_blocks(server) == 0
    wait_until(lambda: usage_rows(server, began))
    (row,) = usage_rows(server, began)
    assert row.finish_reason is FinishReason.ABORT
    assert n_steps <= row.output_tokens == seq.n_output_tokens <= n_steps + 1


def test_three_callers_advance_together(server, gate):
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(server.run, GREEDY) for _ in range(3)]
        scheduler = server.engine.scheduler
        wait_until(lambda: has_come(server, 3))
        gate.open(2)
        wait_until(lambda: len(scheduler.running) == 3)
        gate.open(1000)
        texts = {answer.result().json()["result"]["response"] for answer in answers}

    assert len(texts) == 1


def test_a_request_that_does_not_want_to_wait_is_refused_while_others_do(server, gate):
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(server.run, GREEDY) for _ in range(5)]
        wait_until(lambda: has_come(server, 5))
        gate.open(2)
        scheduler = server.engine.scheduler
        wait_until(lambda: (len(scheduler.running), len(scheduler.waiting)) == (4, 1))
        refused = server.run({**GREEDY, "options": {"rejectIfBusy": True}})
        gate.open(1000)
        assert all(answer.result().status_code == 200 for answer in answers)

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, 3040)
    assert refused.headers["retry-after"]


def test_more_than_may_wait_are_refused_and_the_rest_is_answered(server, gate):
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(server.run, {**GREEDY, "stream": i % 2}) for i in range(16)]
        # Each waits, or was refused at the door.
        wait_until(lambda: len(server.client._live) + sum(a.done() for a in answers) >= 16)
        gate.open(10_000)
        statuses = sorted(answer.result().status_code for answer in answers)

    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 4
    assert n_held_blocks(server) == 0


def test_one_account_that_floods_makes_room_for_another(server, gate):
    """Whoever has to go has used nothing, and is told when to come again."""
    began = utc_now()
    other = server.stores.accounts.create("other")
    secret, _ = server.stores.api_tokens.create(other.id, name="other")
    with ThreadPoolExecutor(16) as pool:
        flood = [pool.submit(server.run, GREEDY) for _ in range(8)]
        wait_until(lambda: server.client.n_live == 8)
        gate.open(3)
        wait_until(lambda: n_made(server) >= 4)
        newcomer = pool.submit(
            httpx.post, server.path(account_id=other.id), json=GREEDY, timeout=60,
            headers={"Authorization": f"Bearer {secret}"},
        )  # fmt: skip
        wait_until(lambda: any(answer.done() for answer in flood))
        gate.open(10_000)
        answers = [answer.result() for answer in flood]

    assert newcomer.result().status_code == 200
    (refused,) = [answer for answer in answers if answer.status_code != 200]
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, 3040)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    wait_until(lambda: len(usage_rows(server, began)) == 7)


def test_a_request_takes_its_account_and_its_limits_along(server, monkeypatch):
    taken, add = [], server.engine.add

    def noted_add(request, grammar):
        taken.append(request)
        add(request, grammar)

    monkeypatch.setattr(server.engine, "add", noted_add)

    server.run(GREEDY)

    (request,) = taken
    assert request.account == server.account_id
    assert (request.wait_limit_s, request.time_limit_s) == (60.0, 600.0)


def test_usage_is_kept_once_for_each_answer(server):
    began = utc_now()

    responses = [server.run({**GREEDY, "stream": stream}) for stream in (True, False)]

    wait_until(lambda: len(usage_rows(server, began)) == 2)
    rows = usage_rows(server, began)
    assert [row.request_id for row in rows] == [r.headers["cf-ai-req-id"] for r in responses]
    assert {(row.model_id, row.output_tokens, row.finish_reason) for row in rows} == {
        (MODEL, 12, FinishReason.LENGTH)
    }
    assert all(0 < row.ttft_s <= row.duration_s for row in rows)


@pytest.fixture
def poisoned(server):
    """A model whose logits become NaN when the test says so."""
    weight = server.engine.model.norm.weight.data
    clean = weight.clone()
    yield lambda: weight.fill_(float("nan"))
    weight.copy_(clean)


@pytest.mark.parametrize("stream", [True, False])
def test_a_fault_before_the_first_token_is_an_error_of_its_own(server, poisoned, stream):
    poisoned()

    response = server.run({**GREEDY, "stream": stream})

    assert (response.status_code, response.json()["errors"][0]["code"]) == (500, 5012)
    assert response.headers["content-type"] == "application/json"


def test_a_fault_in_a_running_stream_is_its_last_event(server, gate, poisoned):
    gate.open(5)
    with httpx.stream("POST", server.path(), json={**GREEDY, "stream": True},
                      headers=server.headers, timeout=30) as response:  # fmt: skip
        wait_until(lambda: n_made(server) == 5)
        poisoned()
        gate.open(5)
        events = Decoder().feed(response.read())

    assert response.status_code == 200
    assert json.loads(events[-1])["errors"][0]["code"] == 5012
    assert "[DONE]" not in events


def test_what_is_answered_does_not_depend_on_who_else_asks(server):
    alone = server.run(GREEDY).json()["result"]["response"]

    with ThreadPoolExecutor(4) as pool:
        others = [
            pool.submit(server.run, {"prompt": "a" * n, "max_tokens": 30, "temperature": 3})
            for n in (1, 90, 200)
        ]
        crowded = pool.submit(server.run, GREEDY).result().json()["result"]["response"]
        assert all(other.result().status_code == 200 for other in others)

    assert crowded == alone


# --- JSON and tools ---

PERSON = {
    "type": "object", "properties": {"age": {"type": "integer", "maximum": 99, "minimum": 0}},
    "required": ["age"], "additionalProperties": False,
}  # fmt: skip
NOW = {"name": "now", "parameters": {
    "type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"],
    "additionalProperties": False,
}}  # fmt: skip


@pytest.mark.parametrize(
    "wanted",
    [
        {"response_format": {"type": "json_schema", "json_schema": PERSON}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": PERSON}}},
        {"guided_json": PERSON},
    ],
)
def test_an_answer_in_json_is_the_value_itself(server, wanted):
    result = server.run({"prompt": "x", "max_tokens": 60, **wanted}).json()["result"]

    assert result["response"].keys() == {"age"}
    assert 0 <= result["response"]["age"] <= 99


def test_json_that_was_cut_off_is_an_error_with_its_own_code(server):
    wanted = {"type": "json_schema", "json_schema": PERSON}

    response = server.run({"prompt": "x", "max_tokens": 3, "response_format": wanted})

    (error,) = response.json()["errors"]
    assert (response.status_code, error["code"]) == (400, 5024)
    assert "JSON Mode couldn't be met" in error["message"]


def test_a_tool_is_called_with_its_arguments_as_an_object(server):
    body = {"prompt": "x", "tools": [NOW], "tool_choice": "required", "max_tokens": 80,
            "parallel_tool_calls": False}  # fmt: skip
    result = server.run(body).json()["result"]

    (call,) = result["tool_calls"]
    assert result["response"] == ""
    assert call["name"] == "now"
    assert call["arguments"]["zone"] in ("UTC", "CET")


def test_a_call_is_one_event_of_a_stream(server):
    body = {"prompt": "x", "tools": [NOW], "tool_choice": "required", "max_tokens": 80,
            "parallel_tool_calls": False, "stream": True}  # fmt: skip
    events = [json.loads(data) for data in sse.Decoder().feed(server.run(body).content)[:-1]]

    (calling,) = [event for event in events if event.get("tool_calls")]
    assert calling["response"] == ""
    assert calling["tool_calls"][0]["name"] == "now"
    assert "usage" in events[-1]


CUT_OFF = {"prompt": "x", "tools": [NOW], "tool_choice": "required", "temperature": 0.1}
"""Asked for with few tokens, it ends within its first call."""


def test_a_call_that_was_cut_off_is_neither_a_call_nor_text(server):
    result = server.run({**CUT_OFF, "max_tokens": 9}).json()["result"]

    assert (result["response"], result["tool_calls"]) == ("", [])
    assert result["finish_reason"] == "length"
    assert result["usage"]["completion_tokens"] == 9


def test_a_call_that_was_cut_off_is_no_event_of_a_stream(server):
    content = server.run({**CUT_OFF, "max_tokens": 9, "stream": True}).content
    *pieces, last, done = sse.Decoder().feed(content)

    assert (pieces, done) == ([], "[DONE]")
    assert json.loads(last)["finish_reason"] == "length"
    assert json.loads(last)["response"] == ""


def test_calls_before_the_one_that_was_cut_off_are_delivered(server):
    """Among some seeds there is an answer that ends within a second call."""
    for seed in range(1, 60):
        body = {**CUT_OFF, "temperature": 1.0, "max_tokens": 70, "seed": seed}
        result = server.run(body).json()["result"]
        if result["tool_calls"] and "finish_reason" in result:
            break

    assert {call["name"] for call in result["tool_calls"]} == {"now"}
    assert (result["response"], result["finish_reason"]) == ("", "length")


# --- the model in the body ---


def run_named(server, body, **options):
    url = f"{server.url}/client/v4/accounts/{server.account_id}/ai/run"
    return httpx.post(url, json=body, headers=server.headers, timeout=60, **options)


def test_the_model_may_stand_in_the_body(server):
    inputs = {"prompt": "the cat", "max_tokens": 4, "temperature": 0, "sed": 1}
    named = run_named(server, {"model": MODEL, "input": inputs, "options": {"gateway": {"id": "x"},
                               "extraHeaders": {"a": "b"}}, "more": 1})  # fmt: skip
    by_path = server.run(inputs)

    assert named.json()["result"]["response"] == by_path.json()["result"]["response"]
    assert list(named.json()) == list(by_path.json())
    assert named.headers["cf-ai-req-id"]
    assert named.headers["cf-ai-neurons"] == "0.00"
    told = "more, sed, options.gateway, options.extraHeaders"
    assert named.headers["sirocco-unused"] == told


def test_a_stream_may_be_asked_for_with_the_model_in_the_body(server):
    inputs = {"prompt": "the cat", "max_tokens": 4, "stream": True}

    response = run_named(server, {"model": MODEL, "input": inputs})

    assert response.headers["content-type"] == "text/event-stream"
    assert sse.Decoder().feed(response.content)[-1] == "[DONE]"


def test_an_option_beside_the_input_is_heard(server, gate):
    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(server.run, {"prompt": "x", "max_tokens": 2}) for _ in range(4)]
        wait_until(lambda: server.client.n_live == 4)
        refused = run_named(server, {"model": MODEL, "input": {"prompt": "x"},
                                     "options": {"rejectIfBusy": True}})  # fmt: skip
        gate.open(100)
        assert {future.result().status_code for future in busy} == {200}

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, 3040)


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({}, 5006, "required properties at '/' are 'model,input'"),
        ({"model": MODEL}, 5006, "required properties at '/' are 'input'"),
        ({"model": 5, "input": {}}, 5006, "Type mismatch of '/model', 'integer' not in 'string'"),
        ({"model": MODEL, "input": "x"}, 5006, "Type mismatch of '/input'"),
        ({"model": MODEL, "input": {"prompt": "x"}, "options": 1}, 5006, "mismatch of '/options'"),
        ({"model": MODEL, "input": {}}, 5006, "required properties at '/' are 'prompt'"),
        ({"model": "@cf/x/y", "input": {"prompt": "x"}}, 5007, "No such model @cf/x/y"),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_faulty_body_with_a_model_is_refused_by_name(server, body, code, text, slash):
    url = f"{server.url}/client/v4/accounts/{server.account_id}/ai/run{slash}"
    response = httpx.post(url, json=body, headers=server.headers, timeout=60)

    (error,) = response.json()["errors"]
    assert (response.status_code, error["code"]) == (400, code)
    assert text in error["message"]


def test_a_beginning_that_an_account_sent_before_is_told_as_cached(server):
    body = {"prompt": "the cat sat on the mat " * 12, "max_tokens": 1}
    before, after = (
        server.run(body).json()["result"]["usage"]["prompt_tokens_details"] for _ in range(2)
    )

    assert before == {"cached_tokens": 0}
    assert after["cached_tokens"] >= 16
