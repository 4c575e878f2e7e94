"""Cloudflare's command line, told where our server is."""

import json

import pytest
from tests.clients.conftest import MODEL, UNKNOWN_MODEL, Clients


@pytest.fixture
def wrangler(clients: Clients, node, node_bin):
    """Run a command of wrangler."""

    def run(*arguments, **changed):
        script = node_bin.parent / "wrangler" / "bin" / "wrangler.js"
        return clients.run([node, script, *arguments], **changed)

    return run


def test_it_lists_models(wrangler):
    done = wrangler("ai", "models", "list", "--search", "mistral-7b", "--json")

    assert done.status == 0, done.errors
    assert MODEL in [model["name"] for model in json.loads(done.output)]


def test_it_shows_a_models_schema(wrangler):
    done = wrangler("ai", "models", "schema", MODEL)

    assert done.status == 0, done.errors
    assert json.loads(done.output).keys() == {"input", "output"}


def test_it_shows_why_a_schema_is_refused(wrangler):
    done = wrangler("ai", "models", "schema", UNKNOWN_MODEL)

    assert done.status == 1
    assert f"No such model {UNKNOWN_MODEL}" in done.errors
    assert "[code: 5007]" in done.errors


def test_it_lists_no_adapters(wrangler):
    done = wrangler("ai", "finetune", "list")

    assert done.status == 0, done.errors
    assert "No finetune assets found" in done.output


def test_it_knows_whose_api_token_it_has(wrangler, clients: Clients):
    done = wrangler("whoami", "--json")

    assert done.status == 0, done.errors
    told = json.loads(done.output)
    assert told["loggedIn"]
    assert told["authType"] == "User API Token"
    assert [account["id"] for account in told["accounts"]] == [clients.account_id]


def test_it_says_that_an_api_token_is_not_good(wrangler):
    done = wrangler("ai", "models", "list", CLOUDFLARE_API_TOKEN="x" * 40)

    assert done.status == 1
    assert "Authentication error [code: 10000]" in done.errors
