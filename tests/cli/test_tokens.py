"""API tokens from the command line: shown once, listed without secret, revoked for ever."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from sirocco.store.stores import open_stores

NOBODY = "0" * 32


@pytest.fixture
def account(sirocco):
    return sirocco("accounts", "create", "--name", "Levante").out.strip()


@pytest.fixture
def stores(home):
    """Open what the commands write to."""
    stores = open_stores(home, f"sqlite:///{home / 'sirocco.db'}")
    yield stores
    stores.database.close()


def listed(sirocco, *args):
    return json.loads(sirocco("tokens", "list", "--json", *args).out)


# --- create ---


def test_a_created_api_token_is_printed_alone_and_proves_its_account(sirocco, account, stores):
    done = sirocco("tokens", "create")

    assert (done.status, done.err) == (0, "")
    assert stores.api_tokens.verify(done.out.strip()).account_id == account


def test_an_api_token_as_json_comes_with_its_account(sirocco, account, stores):
    made = json.loads(sirocco("tokens", "create", "--json").out)

    assert made.keys() == {"account_id", "token"}
    assert made["account_id"] == account
    assert stores.api_tokens.verify(made["token"]).account_id == account


def test_the_first_api_token_makes_the_account_that_is_missing(sirocco):
    made = json.loads(sirocco("tokens", "create", "--json").out)

    (row,) = json.loads(sirocco("accounts", "list", "--json").out)
    assert (row["account_id"], row["name"]) == (made["account_id"], "default")


def test_of_several_accounts_one_must_be_named(sirocco, refused, account):
    other = sirocco("accounts", "create", "--name", "Ponente").out.strip()

    assert refused("tokens", "create") == "--account is needed: there are 2 accounts"
    made = json.loads(sirocco("tokens", "create", "--account", other, "--json").out)
    assert made["account_id"] == other


@pytest.mark.parametrize("command", ["create", "list", "revoke x"])
@pytest.mark.parametrize("named", [NOBODY, "", "x", "'; drop table accounts"])
def test_an_account_that_is_not_there_is_refused(refused, account, command, named):
    text = refused("tokens", *command.split(), "--account", named)

    assert text == f"--account: there is no account {named!r}"


def test_an_api_token_ends_when_it_was_told_to(sirocco, account):
    sirocco("tokens", "create", "--expires-days", "0.5")

    (row,) = listed(sirocco)
    left = datetime.fromisoformat(row["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=11, minutes=59) < left < timedelta(hours=12)


def test_an_api_token_never_ends_by_itself(sirocco, account):
    sirocco("tokens", "create")

    assert listed(sirocco)[0]["expires_at"] is None


@pytest.mark.parametrize("days", ["0", "-1", "36501", "inf", "nan", "soon"])
def test_days_beyond_their_limits_are_refused(sirocco, account, days):
    done = sirocco("tokens", "create", "--expires-days", days)

    assert (done.status, done.out) == (2, "")
    assert "--expires-days" in done.err
    assert listed(sirocco) == []


def test_an_api_token_may_do_everything_unless_told(sirocco, account):
    sirocco("tokens", "create")
    sirocco("tokens", "create", "--scope", "ai:read")
    sirocco("tokens", "create", "--scope", "ai:run", "--scope", "ai:read")

    assert [row["scopes"] for row in listed(sirocco)] == [
        "ai:read ai:run", "ai:read", "ai:read ai:run"
    ]  # fmt: skip


def test_a_scope_that_is_none_is_refused_before_anything_is_made(sirocco, refused):
    text = refused("tokens", "create", "--scope", "ai:write")

    assert text == "'/scopes' must be of ai:read, ai:run, got 'ai:write'"
    assert json.loads(sirocco("accounts", "list", "--json").out) == []


# --- list ---


def test_the_list_tells_everything_but_the_secret(sirocco, account):
    secret = sirocco("tokens", "create", "--name", "laptop").out.strip()

    (row,) = listed(sirocco)

    assert row.keys() == {
        "id", "name", "prefix", "scopes", "created_at", "expires_at", "revoked_at"
    }  # fmt: skip
    assert row["name"] == "laptop"
    assert secret.startswith(row["prefix"])
    assert secret not in json.dumps(row)


def test_the_table_shows_ids_whole_in_a_narrow_terminal(sirocco, monkeypatch, account):
    sirocco("tokens", "create", "--name", "[/b]")
    (row,) = listed(sirocco)
    monkeypatch.setenv("COLUMNS", "20")

    table = sirocco("tokens", "list").out

    assert row["id"] in table
    assert row["created_at"] in table
    assert "[/b]" in table


def test_api_tokens_of_another_account_are_not_listed(sirocco, account):
    other = sirocco("accounts", "create", "--name", "Ponente").out.strip()
    sirocco("tokens", "create", "--account", account, "--name", "mine")

    assert listed(sirocco, "--account", other) == []
    assert [row["name"] for row in listed(sirocco, "--account", account)] == ["mine"]


def test_an_account_without_api_tokens_is_told_so(sirocco, account):
    assert sirocco("tokens", "list").out == "The account has no API token yet.\n"


@pytest.mark.parametrize("command", ["list", "revoke x"])
def test_looking_makes_no_account(sirocco, refused, command):
    """`sirocco serve` gives an API token to the account that it makes itself, and to no other."""
    assert refused("tokens", *command.split()).startswith("there is no account yet")
    assert json.loads(sirocco("accounts", "list", "--json").out) == []


# --- revoke ---


def test_a_revoked_api_token_proves_nothing_any_more(sirocco, account, stores):
    secret = sirocco("tokens", "create").out.strip()
    (row,) = listed(sirocco)

    done = sirocco("tokens", "revoke", row["id"])

    assert (done.status, done.out) == (0, f"{row['id']} is revoked\n")
    assert listed(sirocco)[0]["revoked_at"] is not None
    assert stores.api_tokens.verify(secret) is None


def test_revoking_as_json_prints_one_object(sirocco, account):
    sirocco("tokens", "create")
    (row,) = listed(sirocco)

    done = sirocco("tokens", "revoke", row["id"], "--json")

    assert json.loads(done.out) == {"id": row["id"], "revoked": True}


def test_an_api_token_is_revoked_once(sirocco, refused, account):
    sirocco("tokens", "create")
    (row,) = listed(sirocco)
    sirocco("tokens", "revoke", row["id"])

    text = refused("tokens", "revoke", row["id"])

    assert text == f"account {account} has no live API token with id {row['id']!r}"


def test_an_api_token_of_another_account_is_not_revoked(sirocco, refused, account):
    sirocco("tokens", "create")
    (row,) = listed(sirocco)
    other = sirocco("accounts", "create", "--name", "Ponente").out.strip()

    text = refused("tokens", "revoke", row["id"], "--account", other)

    assert "has no live API token" in text
    assert listed(sirocco, "--account", account)[0]["revoked_at"] is None
