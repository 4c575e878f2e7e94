"""Asynchronous batches over HTTP: queued, asked for, and done in the time that others leave."""

import contextlib
import json
import sqlite3
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import httpx
import pytest
from tests.api.conftest import MISTRAL, MODEL
from tests.served import wait_until

from sirocco.service.batch_runner import item_request_id
from sirocco.store.limits import Limits
from sirocco.store.scopes import Scope

QUEUE = {"params": {"queueRequest": "true"}}
PERSON = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 9}},
          "required": ["age"], "additionalProperties": False}  # fmt: skip


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    with serve(
        tmp_path_factory.mktemp("home"), max_running=4, max_waiting=8, batch_requests=6,
        batch_waiting=8, batch_running=2,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def account(server):
    """An account without usage, and its API token's headers."""
    account = server.stores.accounts.create("x")
    secret, _ = server.stores.api_tokens.create(account.id, name="x")
    return account.id, {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def held(server):
    """Keep the engine from doing a step with work in it, for as long as the test lasts."""
    engine, may_step = server.engine, threading.Event()
    step = engine.step

    def wait_and_step():
        if engine.has_work:
            may_step.wait(30)
        return step()

    engine.step = wait_and_step
    yield may_step
    may_step.set()
    engine.step = step


def post(server, account, body, *, model_id=MODEL, headers=None, **options):
    account_id, own = account
    url = server.path(model_id, account_id)
    return httpx.post(
        url, content=json.dumps(body), headers={**own, **(headers or {})}, timeout=60, **options
    )


def submit(server, account, *requests, **options):
    response = post(server, account, {"requests": list(requests)}, **QUEUE, **options)
    assert response.status_code == 200, response.text
    return response.json()["result"]


def poll(server, account, batch_id, **options):
    response = post(server, account, {"request_id": batch_id}, **options)
    assert response.status_code == 200, response.text
    return response.json()["result"]


def results(server, account, batch_id):
    """Ask until the batch is finished."""
    wait_until(lambda: "responses" in poll(server, account, batch_id), 110)
    return poll(server, account, batch_id)


def item(text="the cat", **fields):
    return {"prompt": text, "max_tokens": 4, "temperature": 0, **fields}


def rows(server, account):
    return server.stores.usage.of_account(account[0])


def test_a_batch_is_queued_and_its_results_are_what_the_requests_alone_would_get(server, account):
    requests = [item("the cat"), item("sat on", external_reference="mine")]
    alone = [post(server, account, r).json()["result"]["response"] for r in requests]

    response = post(server, account, {"requests": requests}, **QUEUE)
    queued = response.json()["result"]

    assert queued == {"status": "queued", "request_id": queued["request_id"], "model": MODEL}
    assert response.headers["cf-ai-req-id"] == queued["request_id"]
    finished = results(server, account, queued["request_id"])
    assert [r["result"]["response"] for r in finished["responses"]] == alone
    assert [(r["id"], r["success"], r["external_reference"]) for r in finished["responses"]] == [
        (0, True, None), (1, True, "mine"),
    ]  # fmt: skip
    counts = [r["result"]["usage"] for r in finished["responses"]]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert finished["usage"][name] == sum(count[name] for count in counts)


def test_every_item_has_one_usage_row_whose_id_can_be_told(server, account):
    batch_id = submit(server, account, *[item()] * 3)["request_id"]
    results(server, account, batch_id)

    wait_until(lambda: len(rows(server, account)) == 3)
    assert {row.request_id for row in rows(server, account)} == {
        item_request_id(batch_id, position) for position in range(3)
    }
    assert all(row.api_token_id and row.output_tokens == 4 for row in rows(server, account))


def test_a_faulty_item_fails_alone_and_says_why(server, account):
    too_long = item("x " * 2000)
    batch_id = submit(
        server, account, item(), item(temperature=9, external_reference="hot"), {"max_tokens": 3},
        item(stream=True), item(options={"rejectIfBusy": True}), too_long,
    )["request_id"]  # fmt: skip

    first, *failed = results(server, account, batch_id)["responses"]

    assert first["success"]
    told = [(r["success"], r["result"], r["errors"][0]["code"]) for r in failed]
    assert told == [(False, {}, 5006)] * 4 + [(False, {}, 5021)]
    texts = [r["errors"][0]["message"] for r in failed]
    assert "'/temperature' must be <= 5, got 9" in texts[0]
    assert "'prompt'" in texts[1]
    assert "'/stream' must be false" in texts[2]
    assert "rejectIfBusy" in texts[3]
    assert failed[0]["external_reference"] == "hot"
    assert item_request_id(batch_id, 1) in texts[0]


def test_items_may_ask_for_all_that_a_request_may(server, account):
    tool = {"name": "now", "parameters": {"type": "object", "additionalProperties": False}}
    batch_id = submit(
        server, account,
        item(messages=None, response_format={"type": "json_schema", "json_schema": PERSON},
             max_tokens=40),
        item(tools=[tool], tool_choice="required", parallel_tool_calls=False, max_tokens=60),
        item(lora="x"),
    )["request_id"]  # fmt: skip

    (as_json, as_call, with_lora) = results(server, account, batch_id)["responses"]

    assert as_json["result"]["response"].keys() == {"age"}
    assert as_call["result"]["tool_calls"] == [{"name": "now", "arguments": {}}]
    assert with_lora["errors"][0]["code"] == 5005


def test_a_batch_that_is_not_done_says_how_far_it_is(server, account, held):
    batch_id = submit(server, account, *[item()] * 4)["request_id"]

    wait_until(lambda: poll(server, account, batch_id)["status"] == "running")

    assert poll(server, account, batch_id, **QUEUE) == {"status": "running", "request_id": batch_id}
    held.set()
    assert len(results(server, account, batch_id)["responses"]) == 4


def test_only_so_many_items_run_at_once_and_the_others_wait_for_them(server, account, held):
    batch_id = submit(server, account, *[item()] * 6)["request_id"]
    wait_until(lambda: server.client.n_live == 2)

    time.sleep(0.6)

    assert server.client.n_live == 2
    assert server.app.state.batch_runner.n_running == 2
    held.set()
    results(server, account, batch_id)


def test_interactive_requests_are_never_kept_waiting_for_a_batchs_turn(server, account, held):
    """All places are taken by interactive requests, which wait for the engine: nothing starts."""
    with ThreadPoolExecutor(4) as pool:
        interactive = [pool.submit(post, server, account, item(str(i))) for i in range(4)]
        wait_until(lambda: server.client.n_live == 4)
        batch_id = submit(server, account, item())["request_id"]
        time.sleep(0.6)
        assert poll(server, account, batch_id)["status"] == "queued"
        assert server.client.n_live == 4

        held.set()

        assert {future.result().status_code for future in interactive} == {200}
    assert results(server, account, batch_id)["responses"][0]["success"]


def test_an_item_that_loses_its_place_is_begun_again_quietly(server, account, held):
    """Twelve places, all taken: a newcomer pushes out an item of the batch, which has two."""
    batch_id = submit(server, account, *[item()] * 2)["request_id"]
    wait_until(lambda: server.client.n_live == 2)

    server.app.state.service.engines.break_off(_out_of_capacity())
    held.set()

    finished = results(server, account, batch_id)
    assert [r["success"] for r in finished["responses"]] == [True, True]
    wait_until(lambda: len(rows(server, account)) == 2)
    assert {str(row.finish_reason) for row in rows(server, account)} == {"length"}


def _out_of_capacity():
    from sirocco.errors import OutOfCapacity

    return OutOfCapacity("another account came")


def test_an_item_over_the_accounts_budget_gets_that_error_and_nothing_stays_reserved(
    server, account
):
    server.stores.accounts.set_limits(account[0], Limits(daily_tokens=20))
    batch_id = submit(server, account, item(max_tokens=4), item(max_tokens=400))["request_id"]

    first, second = results(server, account, batch_id)["responses"]

    assert first["success"]
    assert second["errors"][0]["code"] == 4006
    assert (
        "tokens are left of your daily free allocation of 20 tokens"
        in (second["errors"][0]["message"])
    )
    wait_until(lambda: post(server, account, item(max_tokens=1)).status_code == 200)


def test_a_submission_counts_in_the_minute_and_its_items_do_not(server, account):
    server.stores.accounts.set_limits(account[0], Limits(per_minute=2))

    batch_id = submit(server, account, *[item()] * 4)["request_id"]
    finished = results(server, account, batch_id)

    assert [r["success"] for r in finished["responses"]] == [True] * 4
    assert post(server, account, item()).status_code == 200
    refused = post(server, account, {"requests": [item()]}, **QUEUE)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, 3021)


# --- who may do what, and how much ---


def test_a_batch_of_another_account_is_404_like_one_that_is_not_there(server, account):
    batch_id = submit(server, account, item())["request_id"]
    results(server, account, batch_id)
    other = server.stores.accounts.create("y")
    secret, _ = server.stores.api_tokens.create(other.id, name="y")
    theirs = other.id, {"Authorization": f"Bearer {secret}"}

    answers = [
        post(server, theirs, {"request_id": batch_id}),
        post(server, account, {"request_id": str(uuid.uuid4())}),
        post(server, account, {"request_id": "\x00' OR 1=1"}),
    ]

    told = [(a.status_code, a.json()["errors"][0]["code"]) for a in answers]
    assert told == [(404, 5006)] * 3


def test_a_batch_is_asked_for_at_its_own_model(server, account):
    batch_id = submit(server, account, item())["request_id"]

    refused = post(server, account, {"request_id": batch_id}, model_id=MISTRAL)

    assert refused.status_code == 400
    assert f"is of a batch for {MODEL}, not for {MISTRAL}" in refused.text


def test_who_may_only_look_may_not_queue_or_ask(server):
    secret, _ = server.stores.api_tokens.create(
        server.account_id, name="looks", scopes=[Scope.READ]
    )
    looking = server.account_id, {"Authorization": f"Bearer {secret}"}

    for body in ({"requests": [item()]}, {"request_id": "x"}):
        assert post(server, looking, body, **QUEUE).status_code == 403


@pytest.mark.parametrize(
    ("body", "query", "text"),
    [
        ({"requests": [item()] * 7}, "true",
         "Number of items of '/requests' must be <= 6, got 7"),
        ({"requests": []}, "true", "Number of items of '/requests' must be >= 1"),
        ({"requests": "x"}, "true", "Type mismatch of '/requests'"),
        ({"requests": [1]}, "true", "Type mismatch of '/requests/0'"),
        ({"requests": [{"external_reference": 5}]}, "true",
         "Type mismatch of '/requests/0/external_reference', 'integer' not in 'string'"),
        ({"requests": [{"external_reference": "\ud800"}]}, "true",
         r"a string holds '\ud800', which is half of a character"),
        ({"requests": [{"external_reference": "x" * 257}]}, "true",
         "Length of '/requests/0/external_reference' must be <= 256, got 257"),
        ({"prompt": "x"}, "true", "required properties at '/' are 'requests'"),
        ({"prompt": "x"}, "maybe", "'queueRequest' must be true or false, got 'maybe'"),
        ({"prompt": "x", "options": {"queueRequest": 5}}, "", "'queueRequest' must be"),
        ({"requests": [item()]}, "false", "which needs 'queueRequest'"),
        ({"request_id": 5}, "true", "Type mismatch of '/request_id'"),
    ],
)  # fmt: skip
def test_a_faulty_batch_is_refused_whole_and_at_once(server, account, body, query, text):
    params = {"queueRequest": query} if query else {}

    refused = post(server, account, body, params=params)

    error = refused.json()["errors"][0]
    assert (refused.status_code, error["code"]) == (400, 5006)
    assert text in error["message"]


def test_unknown_models_and_those_without_weights_are_told_when_a_batch_comes(server, account):
    body = {"requests": [item()]}

    unknown = post(server, account, body, model_id="@cf/x/y", **QUEUE)
    absent = post(server, account, body, model_id=MISTRAL, **QUEUE)

    assert (unknown.status_code, unknown.json()["errors"][0]["code"]) == (400, 5007)
    assert (absent.status_code, absent.json()["errors"][0]["code"]) == (503, 3040)


def test_an_account_may_have_only_so_many_requests_waiting(server, account, held):
    batch_id = submit(server, account, *[item()] * 6)["request_id"]

    refused = post(server, account, {"requests": [item()] * 3}, **QUEUE)

    error = refused.json()["errors"][0]
    assert (refused.status_code, error["code"]) == (429, 3040)
    assert "6 requests of the account wait in batches, and at most 8 may" in error["message"]
    assert int(refused.headers["retry-after"]) >= 1
    held.set()
    results(server, account, batch_id)


# --- once only ---


def test_the_same_key_and_body_is_answered_with_the_first_answer(server, account):
    key = {"Idempotency-Key": "order 7"}
    body = {"requests": [item()]}
    first, again = (post(server, account, body, headers=key, **QUEUE) for _ in range(2))
    batch_id = first.json()["result"]["request_id"]
    results(server, account, batch_id)

    late = post(server, account, body, headers=key, **QUEUE)

    assert first.json() == again.json() == late.json()
    assert len(rows(server, account)) <= 1
    assert again.headers["cf-ai-req-id"] != batch_id  # it is a request of its own


def test_the_same_key_with_another_body_is_refused_by_name(server, account):
    key = {"Idempotency-Key": "k"}
    post(server, account, {"requests": [item()]}, headers=key, **QUEUE)

    refused = post(server, account, {"requests": [item("other")]}, headers=key, **QUEUE)

    assert refused.status_code == 400
    assert "'Idempotency-Key' 'k' was used for another batch" in refused.text


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_a_length(server, account, key):
    body = {"requests": [item()]}

    refused = post(server, account, body, headers={"Idempotency-Key": key}, **QUEUE)

    assert refused.status_code == 400
    assert "'Idempotency-Key' must have 1 to 255 printable characters" in refused.text


def test_what_nothing_reads_is_told(server, account):
    body = {"requests": [item(frequency=1), item(frequency=2)], "max_tokens": 5,
            "options": {"tags": ["x"], "queueRequest": True}}  # fmt: skip

    told = post(server, account, body)

    assert told.json()["result"]["status"] == "queued"
    assert told.headers["sirocco-unused"] == "max_tokens, options.tags, requests.frequency"


# --- the other ways in ---


def bind(server, account, inputs, options=None, headers=None, *, version="3"):
    sent = {**account[1], "cf-consn-model-id": MODEL, **(headers or {})}
    body = {"inputs": inputs, "options": options or {}}
    return httpx.post(f"{server.url}/run?version={version}", json=body, headers=sent, timeout=60)


def test_the_binding_queues_and_asks_without_an_envelope(server, account):
    key = {"Idempotency-Key": "b"}
    queued, again = (
        bind(server, account, {"requests": [item()]}, {"queueRequest": True}, key) for _ in range(2)
    )

    assert queued.headers["content-type"] == "application/json"
    assert queued.json() == again.json()
    assert queued.json()["status"] == "queued"
    asked = {"request_id": queued.json()["request_id"]}
    wait_until(lambda: "responses" in bind(server, account, asked).json())
    assert bind(server, account, asked).json()["responses"][0]["success"]
    refused = bind(server, account, {"request_id": "x"})
    assert (refused.status_code, refused.json()["internalCode"]) == (404, 5006)


def test_the_second_generation_of_the_binding_gets_its_batch_packed(server, account):
    response = bind(server, account, {"requests": [item()]}, {"queueRequest": True}, version="2")

    import gzip

    assert json.loads(gzip.decompress(response.content))["status"] == "queued"


def test_a_batch_may_be_queued_with_its_model_in_the_body(server, account):
    url = f"{server.url}/client/v4/accounts/{account[0]}/ai/run"
    body = {"model": MODEL, "input": {"requests": [item()]}, "options": {"queueRequest": True}}

    queued = httpx.post(url, json=body, headers=account[1], timeout=60).json()["result"]

    assert results(server, account, queued["request_id"])["responses"][0]["success"]


# --- ends ---


def test_a_server_that_ends_leaves_the_rest_to_the_next_which_does_not_do_it_twice(
    serve, tmp_path, checkpoint
):
    settings = {"batch_running": 1}
    with serve(tmp_path, **settings) as first:
        account = first.account_id, first.headers
        long = item(max_tokens=100, temperature=1.5)
        batch_id = submit(first, account, *[long] * 8)["request_id"]
        wait_until(lambda: len(first.stores.usage.of_account(account[0])) >= 2)
    done_before = len(done_texts(tmp_path, batch_id))

    with serve(tmp_path, **settings) as second:
        before = done_texts(tmp_path, batch_id)
        finished = results(second, account, batch_id)
        wait_until(lambda: len(second.stores.usage.of_account(account[0])) == 8)
        kept = second.stores.usage.of_account(account[0])

    assert 2 <= done_before < 8
    texts = {r["id"]: r["result"]["response"] for r in finished["responses"]}
    assert {i: json.loads(t)["response"] for i, t in before.items()}.items() <= texts.items()
    assert "abort" not in {str(row.finish_reason) for row in kept}
    assert finished["usage"]["completion_tokens"] == sum(row.output_tokens for row in kept)
    assert len({row.request_id for row in kept}) == 8


def done_texts(home, batch_id):
    """Look into the database for the results that are there."""
    with contextlib.closing(sqlite3.connect(home / "sirocco.db", timeout=30)) as connection:
        query = "SELECT position, result FROM batch_items WHERE batch_id = ? AND is_done"
        return dict(connection.execute(query, (batch_id,)).fetchall())


def move_back(home, column, hours):
    """Let a moment of every batch lie further back."""
    with contextlib.closing(sqlite3.connect(home / "sirocco.db", timeout=30)) as connection:
        (text,) = connection.execute(f"SELECT {column} FROM batches").fetchone()  # noqa: S608
        moment = datetime.fromisoformat(text) - timedelta(hours=hours)
        moved = moment.isoformat(sep=" ", timespec="microseconds")
        connection.execute(f"UPDATE batches SET {column} = ?", (moved,))  # noqa: S608
        connection.commit()


def test_results_are_deleted_after_their_time(serve, tmp_path):
    with serve(tmp_path, batch_keep_s=7200) as running:
        account = running.account_id, running.headers
        batch_id = submit(running, account, item())["request_id"]
        results(running, account, batch_id)
        move_back(tmp_path, "finished_at", 1.9)
        assert "responses" in poll(running, account, batch_id)

        move_back(tmp_path, "finished_at", 0.2)

        assert post(running, account, {"request_id": batch_id}).status_code == 404
    with serve(tmp_path, batch_keep_s=7200):
        wait_until(lambda: done_texts(tmp_path, batch_id) == {}, 120)


def test_what_is_not_done_in_time_is_told_so(serve, tmp_path):
    with serve(tmp_path, batch_running=0) as idle:
        account = idle.account_id, idle.headers
        batch_id = submit(idle, account, item())["request_id"]
        assert poll(idle, account, batch_id)["status"] == "queued"
    move_back(tmp_path, "created_at", 25)

    with serve(tmp_path) as late:
        (response,) = results(late, account, batch_id)["responses"]

    assert response["errors"][0]["code"] == 3007
