"""What an account used, over HTTP."""

import time

import httpx
import pytest
from tests.api.conftest import MODEL

OTHER = "0123456789abcdef" * 2


def ask(server, query="", account_id=None):
    return httpx.get(
        f"{server.url}/client/v4/accounts/{account_id or server.account_id}/ai/usage{query}",
        headers=server.headers, timeout=60,
    )  # fmt: skip


@pytest.fixture
def used(server):
    """A request that has its row."""
    n_before = len(server.stores.usage.of_account(server.account_id))
    assert server.run({"prompt": "x", "max_tokens": 3}).status_code == 200
    deadline_s = time.monotonic() + 10
    while len(server.stores.usage.of_account(server.account_id)) == n_before:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return server.stores.usage.of_account(server.account_id)


def test_usage_is_added_up_by_day(server, used):
    (day,) = ask(server).json()["result"]

    assert day == {
        "day": used[-1].started_at.strftime("%Y-%m-%d"),
        "requests": len(used),
        "prompt_tokens": sum(row.prompt_tokens for row in used),
        "cached_tokens": sum(row.cached_tokens for row in used),
        "output_tokens": sum(row.output_tokens for row in used),
        "neurons": 0.0,
    }


def test_usage_is_added_up_by_model_and_token(server, used):
    (model,) = ask(server, "?by=model").json()["result"]
    (token,) = ask(server, "?by=token").json()["result"]

    assert model["model"] == MODEL
    assert token["token"] == used[-1].api_token_id
    assert token["name"] == f"test ({server.secret[:8]}…)"
    assert model["requests"] == token["requests"] == len(used)


def test_a_time_is_given_as_dates_or_moments(server, used):
    for since, n_groups in (("2020-01-01", 1), ("2020-01-01T10:00:00Z", 1), ("2999-01-01", 0)):
        assert len(ask(server, f"?since={since}").json()["result"]) == n_groups
    assert ask(server, "?until=2020-01-01").json()["result"] == []
    assert ask(server, "?until=0001-01-01").json()["result"] == []


@pytest.mark.parametrize("query", ["?by=hour", "?since=soon", "?until=", "?since=2026-13-01"])
def test_a_question_that_is_none_is_refused(server, query):
    response = ask(server, query)

    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, 5006)


def test_nobody_sees_the_usage_of_another_account(server, used):
    assert ask(server, account_id=OTHER).status_code == 401
