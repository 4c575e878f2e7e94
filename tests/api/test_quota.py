"""Limits of accounts and what they cost, over HTTP."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest
from tests.api.conftest import MISTRAL, MODEL
from tests.served import wait_until

from sirocco.store.limits import Limits


@pytest.fixture(scope="module")
def limited(serve, tmp_path_factory):
    """A server where the embedded model stands in for Mistral, at Mistral's price."""
    with serve(
        tmp_path_factory.mktemp("home"), stand_in=True, max_waiting=256, max_seq_len=512
    ) as running:
        yield running


@pytest.fixture
def account(limited):
    """An account without usage, and its API token's headers."""
    account = limited.stores.accounts.create("x")
    secret, _ = limited.stores.api_tokens.create(account.id, name="x")
    return account.id, {"Authorization": f"Bearer {secret}"}


def ask(server, account, model_id=MISTRAL, **body):
    account_id, headers = account
    sent = {"prompt": "Hello", "max_tokens": 4, "temperature": 0, **body}
    return httpx.post(server.path(model_id, account_id), json=sent, headers=headers, timeout=120)


def rows(server, account, n):
    """Wait for an account's usage rows."""
    wait_until(lambda: len(server.stores.usage.of_account(account[0])) >= n)
    return server.stores.usage.of_account(account[0])


def test_an_answer_tells_what_it_cost(limited, account):
    whole = ask(limited, account)
    streamed = ask(limited, account, stream=True)

    (row, _) = rows(limited, account, 2)
    cost = (row.prompt_tokens * 10_000 + row.output_tokens * 17_300) / 1e6
    assert row.neurons == cost > 0
    assert whole.json()["result"]["usage"]["neurons"] == cost
    assert whole.headers["cf-ai-neurons"] == f"{cost:.2f}"
    last = json.loads(streamed.text.split("\n\n")[-3].removeprefix("data: "))
    assert last["usage"]["neurons"] == cost


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
        ("completions", {"prompt": "Hello"}),
        ("responses", {"input": "Hello"}),
    ],
)
def test_an_answer_in_openais_shape_tells_what_it_cost(limited, account, path, body):
    account_id, headers = account
    address = f"{limited.url}/client/v4/accounts/{account_id}/ai/v1/{path}"

    answer = httpx.post(address, json={"model": MISTRAL, **body}, headers=headers, timeout=120)

    (row,) = rows(limited, account, 1)
    assert answer.json()["usage"]["neurons"] == row.neurons > 0
    assert answer.headers["cf-ai-neurons"] == f"{row.neurons:.2f}"


def test_a_hundred_at_once_on_the_last_of_a_budget_overspend_nothing(limited, account):
    """Scorecard row 9, through the door."""
    ask(limited, account)
    (row,) = rows(limited, account, 1)
    worst = row.prompt_tokens + 4
    budget = row.prompt_tokens + row.output_tokens + 7 * worst
    limited.stores.accounts.set_limits(account[0], Limits(daily_tokens=budget))
    together = threading.Barrier(20, timeout=30)

    def one(number):
        if number < 20:
            together.wait()
        return ask(limited, account).status_code

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(one, range(100)))

    used = rows(limited, account, 1 + statuses.count(200))
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 7
    assert sum(row.prompt_tokens + row.output_tokens for row in used) <= budget


def test_a_budget_that_is_used_up_is_told_with_the_time_of_the_next(limited, account):
    limited.stores.accounts.set_limits(account[0], Limits(daily_neurons=0.01))

    refused = ask(limited, account)

    (error,) = refused.json()["errors"]
    now = datetime.now(UTC)
    left_s = 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
    assert (refused.status_code, error["code"]) == (429, 4006)
    assert "of your daily free allocation of 0.01 neurons" in error["message"]
    assert abs(int(refused.headers["retry-after"]) - left_s) < 30
    assert limited.stores.usage.of_account(account[0]) == []


def test_a_limit_holds_from_the_next_request_on(limited, account):
    assert ask(limited, account).status_code == 200
    limited.stores.accounts.set_limits(account[0], Limits(per_minute=1))
    assert ask(limited, account).status_code == 200

    refused = ask(limited, account)

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, 3021)
    assert 50 < int(refused.headers["retry-after"]) <= 60
    limited.stores.accounts.set_limits(account[0], Limits())
    time.sleep(1.1)  # for so long a full minute is known without a look at the database
    assert ask(limited, account).status_code == 200


def test_a_request_that_is_refused_after_it_was_reserved_for_gives_back(limited, account):
    limited.stores.accounts.set_limits(account[0], Limits(daily_tokens=5000))

    refused = ask(limited, account, prompt="word " * 3000)

    assert refused.status_code == 413
    assert ask(limited, account).status_code == 200


def test_a_client_that_leaves_is_charged_what_was_made_and_no_more(limited, account):
    """Scorecard row 8: the row is the engine's count, and the reservation is gone."""
    limited.stores.accounts.set_limits(account[0], Limits(daily_tokens=100_000))
    account_id, headers = account
    body = {"prompt": "Tell me a long story about attention", "max_tokens": 400, "stream": True}
    with httpx.stream(
        "POST", limited.path(MISTRAL, account_id), json=body, headers=headers, timeout=60
    ) as stream:
        next(stream.iter_lines())

    (row,) = rows(limited, account, 1)
    budgets = limited.app.state.service._quota._budgets
    assert budgets.used(account_id).tokens == row.prompt_tokens + row.output_tokens


def test_an_answer_that_makes_room_for_another_account_gives_back(server, gate):
    """It has used nothing, so no row comes in the place of its reservation."""
    server.stores.accounts.set_limits(server.account_id, Limits(daily_tokens=100_000))
    other = server.stores.accounts.create("other")
    secret, _ = server.stores.api_tokens.create(other.id, name="other")
    mine = (server.account_id, server.headers)
    before = len(server.stores.usage.of_account(server.account_id))
    with ThreadPoolExecutor(9) as pool:
        flood = [pool.submit(ask, server, mine, MODEL) for _ in range(8)]
        wait_until(lambda: server.client.n_live == 8)
        gate.open(3)
        newcomer = pool.submit(
            ask, server, (other.id, {"Authorization": f"Bearer {secret}"}), MODEL
        )
        wait_until(lambda: any(answer.done() for answer in flood))
        gate.open(10_000)
        statuses = sorted(answer.result().status_code for answer in flood)

    assert (newcomer.result().status_code, statuses) == (200, [200] * 7 + [429])
    used = rows(server, mine, before + 7)
    budgets = server.app.state.service._quota._budgets
    n_tokens = sum(row.prompt_tokens + row.output_tokens for row in used)
    wait_until(lambda: budgets.used(server.account_id).tokens == n_tokens)
