"""A look inside, over HTTP: tokens, attention, and the blocks of a running answer."""

import base64
import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from tests.api.conftest import MISTRAL, MODEL
from tests.served import wait_until

from sirocco.store.limits import Limits

LOOK = {"prompt": "the cat sat on the mat", "raw": True, "alternatives": 3}
LONG = "the cat sat on the mat " * 8


def inspect(server, body, model_id=MODEL, *, account_id=None, headers=None, **options):
    url = f"{server.url}/client/v4/accounts/{account_id or server.account_id}/ai/inspect/{model_id}"
    return httpx.post(url, json=body, headers=headers or server.headers, timeout=60, **options)


def maps_of(result):
    """Read attention as docs/api.md says."""
    attention = result["attention"]
    kind = np.dtype({"uint8": "u1", "float16": "<f2"}[attention["encoding"]])
    return np.frombuffer(base64.b64decode(attention["data"]), kind).reshape(attention["shape"])


def account_of(server, **limits):
    """An account of its own, and its headers."""
    account = server.stores.accounts.create("x")
    if limits:
        server.stores.accounts.set_limits(account.id, Limits(**limits))
    secret, _ = server.stores.api_tokens.create(account.id, name="x")
    return {"account_id": account.id, "headers": {"Authorization": f"Bearer {secret}"}}


def refusal_of(response):
    (error,) = response.json()["errors"]
    return response.status_code, error["code"], error["message"]


# --- the network at work ---


def test_the_tokens_are_those_of_the_prompt(server):
    result = inspect(server, LOOK).json()["result"]

    tokens = result["tokens"]
    assert tokens[0] == {"id": 1, "text": "<s>", "control": True}
    assert "".join(token["text"] for token in tokens[1:]) == LOOK["prompt"]
    assert not any("control" in token for token in tokens[1:])
    assert result["usage"] == {
        "prompt_tokens": len(tokens), "completion_tokens": 0, "total_tokens": len(tokens),
        "prompt_tokens_details": {"cached_tokens": 0}, "neurons": 0.0,
    }  # fmt: skip


def test_the_model_tells_its_own_shape(server):
    model = inspect(server, LOOK).json()["result"]["model"]

    assert {name: model[name] for name in ("n_layers", "n_heads", "n_kv_heads", "group_size")} == {
        "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "group_size": 2,
    }  # fmt: skip
    assert (model["id"], model["window"], model["head_dim"]) == (MODEL, 32, 8)
    assert model["block_size"] == server.engine.config.block_size
    # Keys and values, 2 layers, heads of 8 numbers of 4 bytes.
    per_head = 2 * 2 * 8 * 4
    assert model["groupings"] == [
        {"n_kv_heads": n, "kv_bytes_per_token": per_head * n} for n in (1, 2, 4)
    ]
    assert model["kv_bytes_per_token"] == per_head * 2


@pytest.mark.parametrize("encoding", ["uint8", "float16"])
def test_attention_is_causal_and_keeps_to_the_window(server, encoding):
    result = inspect(server, {"prompt": LONG, "encoding": encoding}).json()["result"]

    maps = maps_of(result).astype(float) / (255 if encoding == "uint8" else 1)
    n = len(result["tokens"])
    query, key = np.indices((n, n))
    is_hidden = (key > query) | (key <= query - 32)
    assert maps.shape == (2, 4, n, n)
    assert n > 40
    assert not maps[..., is_hidden].any()
    np.testing.assert_allclose(maps.sum(-1), 1, atol=0.07 if encoding == "uint8" else 5e-3)


def test_layers_and_heads_can_be_chosen(server):
    every = maps_of(inspect(server, LOOK).json()["result"])

    result = inspect(server, LOOK | {"layers": [1], "heads": [3, 0, 3]}).json()["result"]

    assert (result["attention"]["layers"], result["attention"]["heads"]) == ([1], [0, 3])
    np.testing.assert_array_equal(maps_of(result)[0], every[1][[0, 3]])


def test_none_of_the_attention_is_an_answer_too(server):
    result = inspect(server, LOOK | {"layers": []}).json()["result"]

    assert result["attention"]["shape"][:2] == [0, 4]
    assert result["attention"]["data"] == ""


def test_what_the_model_expected_is_what_it_says(server):
    """The likeliest next token is the one that a greedy answer begins with."""
    first = server.run({"prompt": LOOK["prompt"], "raw": True, "temperature": 0, "max_tokens": 1})

    result = inspect(server, LOOK).json()["result"]

    assert result["next"][0]["text"].strip() == first.json()["result"]["response"].strip()
    assert len(result["next"]) == 3
    for token in result["tokens"][1:]:
        shown = [other["probability"] for other in token["alternatives"]]
        assert shown == sorted(shown, reverse=True)
        assert 0 <= token["probability"] <= shown[0] <= 1


def test_an_answers_text_follows_the_prompt(server):
    alone = inspect(server, LOOK | {"layers": []}).json()["result"]["tokens"]
    both = inspect(server, LOOK | {"layers": [], "answer": " on the mat"}).json()["result"]

    assert [t["id"] for t in both["tokens"][: len(alone)]] == [t["id"] for t in alone]
    assert "".join(t["text"] for t in both["tokens"][len(alone) :]) == " on the mat"


def test_a_conversation_goes_into_the_template(stand_in):
    """The brackets of the embedded model's template are control tokens."""
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good"}]

    response = inspect(stand_in, {"messages": turns, "layers": [0]}, MISTRAL)

    tokens = response.json()["result"]["tokens"]
    assert [t["text"] for t in tokens if t.get("control")] == ["<s>", "[INST]", "[/INST]"]
    assert tokens[-1]["text"] == "Good"
    assert response.headers["sirocco-stand-in"] == "@sirocco/breeze-instruct"
    assert response.json()["result"]["model"]["id"] == "@sirocco/breeze-instruct"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "required properties at '/' are 'prompt'"),
        ({"prompt": "x", "messages": []}, "2 matches"),
        ({"prompt": "x", "layers": [2]}, "'/layers' must be in 0 … 1, got 2"),
        ({"prompt": "x", "heads": [4]}, "'/heads' must be in 0 … 3, got 4"),
        ({"prompt": "x", "heads": [-1]}, "'/heads/0' must be >= 0, got -1"),
        ({"prompt": "x", "alternatives": 21}, "'/alternatives' must be <= 20, got 21"),
        ({"prompt": "x", "encoding": "int4"}, "/encoding"),
        ({"prompt": "x", "answer": 5}, "/answer"),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(server, body, text):
    status, code, message = refusal_of(inspect(server, body))

    assert (status, code) == (400, 5006)
    assert text in message


def test_members_that_nothing_reads_are_named(server):
    response = inspect(server, LOOK | {"layer": [0], "temperature": 1})

    assert response.headers["sirocco-unused"] == "layer, temperature"


def test_a_text_beyond_the_limit_is_refused_by_name(serve, tmp_path):
    with serve(tmp_path, inspect_max_tokens=16) as server:
        status, code, message = refusal_of(inspect(server, {"prompt": LONG}))
        within = inspect(server, {"prompt": "the cat"})

    assert (status, code) == (400, 5006)
    assert "must have at most 16 tokens to be inspected, got " in message
    assert within.status_code == 200


# --- what it costs ---


@pytest.fixture(scope="module")
def stand_in(serve, tmp_path_factory):
    """A server where the embedded model stands in for Mistral, at Mistral's price."""
    with serve(tmp_path_factory.mktemp("home"), stand_in=True, max_seq_len=512) as running:
        yield running


def test_it_costs_what_its_tokens_cost_as_a_prompt(stand_in):
    account = account_of(stand_in)

    response = inspect(stand_in, LOOK | {"layers": [0]}, MISTRAL, **account)

    usage = response.json()["result"]["usage"]
    assert usage["neurons"] == usage["prompt_tokens"] * 10_000 / 1e6 > 0
    assert response.headers["cf-ai-neurons"] == f"{usage['neurons']:.2f}"
    wait_until(lambda: stand_in.stores.usage.of_account(account["account_id"]))
    (row,) = stand_in.stores.usage.of_account(account["account_id"])
    assert row.request_id == response.headers["cf-ai-req-id"]
    assert (row.model_id, row.output_tokens, row.neurons) == (MISTRAL, 0, usage["neurons"])


def test_it_counts_in_the_accounts_minute_and_day(stand_in):
    a_minute = account_of(stand_in, per_minute=1)
    a_day = account_of(stand_in, daily_tokens=20)

    in_a_minute = [inspect(stand_in, LOOK, MISTRAL, **a_minute) for _ in range(2)]
    in_a_day = [inspect(stand_in, LOOK, MISTRAL, **a_day) for _ in range(4)]

    assert [r.status_code for r in in_a_minute] == [200, 429]
    assert refusal_of(in_a_minute[1])[1] == 3021
    assert in_a_day[0].status_code == 200
    assert refusal_of(in_a_day[-1])[:2] == (429, 4006)


def test_a_client_that_leaves_ends_the_work(server):
    engine = server.engine
    advance, begun, go_on = engine.inspections.advance, threading.Event(), threading.Event()

    def wait():
        begun.set()
        go_on.wait(30)
        return advance()

    engine.inspections.advance = wait
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{server.url}/client/v4/accounts/{server.account_id}/ai/inspect/{MODEL}",
                json={"prompt": LONG}, headers=server.headers, timeout=httpx.Timeout(10, read=0.3),
            )  # fmt: skip
        assert begun.is_set()
        wait_until(lambda: server.client.n_live == 0)
    finally:
        engine.inspections.advance = advance
        go_on.set()
    wait_until(lambda: not engine.inspections.has_work)
    assert inspect(server, LOOK).status_code == 200


def test_a_third_one_of_an_account_is_told_to_come_back(server):
    engine = server.engine
    advance, go_on = engine.inspections.advance, threading.Event()
    engine.inspections.advance = lambda: (go_on.wait(30), advance())[1]
    try:
        with ThreadPoolExecutor(2) as pool:
            two = [pool.submit(inspect, server, LOOK) for _ in range(2)]
            wait_until(lambda: server.client.n_live == 2)
            third = inspect(server, LOOK)
            go_on.set()
            assert [one.result().status_code for one in two] == [200, 200]
    finally:
        engine.inspections.advance = advance
        go_on.set()
    assert refusal_of(third)[:2] == (429, 3040)
    assert int(third.headers["retry-after"]) >= 1


# --- the blocks of a running answer ---


def blocks_of(server, request_id, *, account_id=None, headers=None):
    account_id = account_id or server.account_id
    url = f"{server.url}/client/v4/accounts/{account_id}/ai/inspect/requests/{request_id}"
    return httpx.get(url, headers=headers or server.headers, timeout=60)


@pytest.fixture
def running(server, gate):
    """A streamed answer that has its first token; the engine waits before each further step."""
    body = {"prompt": LONG, "stream": True, "max_tokens": 64, "temperature": 0}
    gate.open(2)
    with httpx.stream("POST", server.path(), json=body, headers=server.headers, timeout=60) as live:
        yield live.headers["cf-ai-req-id"]


def look(server, gate, request_id, **who):
    """Ask while the engine is held before a step: it answers after one."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(blocks_of, server, request_id, **who)
        while not asked.done():
            gate.open()
            time.sleep(0.1)
        return asked.result()


@contextlib.contextmanager
def ajar(gate):
    """Let a step through every 50 ms."""
    is_over = threading.Event()

    def let_through():
        while not is_over.wait(0.05):
            gate.open()

    opening = threading.Thread(target=let_through)
    opening.start()
    yield
    is_over.set()
    opening.join()


def test_the_blocks_of_a_running_answer_are_told(server, gate, running):
    result = look(server, gate, running).json()["result"]

    (answer,) = result["answers"]
    block_size = server.engine.config.block_size
    assert result["block_size"] == block_size
    assert answer["running"]
    assert answer["tokens"] == answer["computed"] + 1 > answer["prompt_tokens"]
    # Every block that is held is full but for the last one, and what lies before was given back.
    filled = [block["filled"] for block in answer["blocks"]]
    assert filled[:-1] == [block_size] * (len(filled) - 1)
    assert 1 <= filled[-1] <= block_size
    assert answer["given_back"] * block_size + sum(filled) == answer["computed"]
    assert answer["given_back"] > 0
    assert answer["computed"] - answer["given_back"] * block_size < 32 + block_size
    pool = result["pool"]
    assert pool["free"] + pool["idle"] + pool["held"] == pool["n_blocks"]
    assert pool["held"] == len(answer["blocks"])


def test_blocks_that_were_found_in_the_prefix_cache_are_marked(server, gate, running):
    """The same prompt was asked by the tests before, of which `running` is part."""
    del running
    body = {"prompt": LONG, "stream": True, "max_tokens": 64, "temperature": 0}
    with (
        ajar(gate),  # what is open beforehand is taken by the answer that runs already
        httpx.stream("POST", server.path(), json=body, headers=server.headers, timeout=60) as live,
    ):
        answer = look(server, gate, live.headers["cf-ai-req-id"]).json()["result"]["answers"][0]

    marks = [block["cached"] for block in answer["blocks"]]
    assert marks[0] is True
    assert marks[-1] is False
    assert marks == sorted(marks, reverse=True)


def test_an_answer_of_another_account_is_not_there(server, gate, running):
    other = account_of(server)

    foreign = blocks_of(server, running, **other)
    unknown = blocks_of(server, "0" * 32)

    assert refusal_of(foreign)[:2] == refusal_of(unknown)[:2] == (404, 7003)
    assert foreign.text == unknown.text.replace("0" * 32, running)


def test_an_answer_that_is_over_is_not_there(server):
    answer = server.run({"prompt": "x", "max_tokens": 1})

    response = blocks_of(server, answer.headers["cf-ai-req-id"])

    assert refusal_of(response)[:2] == (404, 7003)
    assert json.loads(response.text)["result"] is None


def test_an_answer_that_is_looked_at_cannot_be_posted_to(server):
    url = f"{server.url}/client/v4/accounts/{server.account_id}/ai/inspect/requests/{'0' * 32}"

    response = httpx.post(url, json={}, headers=server.headers)

    assert (response.status_code, response.json()["errors"][0]["code"]) == (405, 7001)
    assert response.headers["allow"] == "GET"
