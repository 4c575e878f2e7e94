"""Accounts are made and listed, for people and for programs."""

import json
import re

import pytest

COLUMNS = dict.fromkeys(
    ("account_id", "name", "weight", "daily_neurons", "daily_tokens", "per_minute", "created_at")
).keys()


def test_creating_prints_the_id(sirocco):
    done = sirocco("accounts", "create", "--name", "Levante")

    assert done.status == 0
    assert re.fullmatch(r"[0-9a-f]{32}\n", done.out)


def test_creating_as_json_prints_one_object(sirocco):
    done = sirocco("accounts", "create", "--name", "Levante", "--json")

    made = json.loads(done.out)
    assert made.keys() == {"account_id", "name", "weight"}
    assert made["name"] == "Levante"


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines"])
def test_a_name_that_is_none_is_refused(refused, sirocco, name):
    assert refused("accounts", "create", "--name", name).startswith("'/name' must have ")
    assert json.loads(sirocco("accounts", "list", "--json").out) == []


def test_a_name_is_needed(sirocco):
    done = sirocco("accounts", "create")

    assert done.status == 2
    assert "--name" in done.err


def test_without_accounts_the_list_is_a_sentence(sirocco):
    assert sirocco("accounts", "list").out == "There is no account yet.\n"


def test_without_accounts_the_list_as_json_is_empty(sirocco):
    assert json.loads(sirocco("accounts", "list", "--json").out) == []


def test_accounts_are_listed_the_oldest_first(sirocco):
    ids = [sirocco("accounts", "create", "--name", name).out.strip() for name in ("b", "a")]

    listed = json.loads(sirocco("accounts", "list", "--json").out)

    assert [(row["account_id"], row["name"]) for row in listed] == [(ids[0], "b"), (ids[1], "a")]
    assert all(row.keys() == COLUMNS for row in listed)


@pytest.mark.parametrize(
    "name", ["Levante", "[/b]", "[bold]x[/bold]", ":smile:", "größer 🌬", "x" * 100]
)
def test_a_name_is_shown_as_it_is(sirocco, monkeypatch, name):
    """A terminal of eight columns, and names that rich would read as markup."""
    account_id = sirocco("accounts", "create", "--name", name).out.strip()
    monkeypatch.setenv("COLUMNS", "8")

    header, row = sirocco("accounts", "list").out.splitlines()

    assert header.split() == list(COLUMNS)
    assert row.startswith(f"{account_id}  {name}  ")


def test_a_weight_is_given_and_changed(sirocco):
    made = json.loads(sirocco("accounts", "create", "--name", "a", "--weight", "2", "--json").out)
    (before,) = json.loads(sirocco("accounts", "list", "--json").out)

    assert sirocco("accounts", "weight", made["account_id"], "0.5").status == 0

    (after,) = json.loads(sirocco("accounts", "list", "--json").out)
    assert (made["weight"], before["weight"], after["weight"]) == (2.0, 2.0, 0.5)


@pytest.mark.parametrize("weight", ["0", "101", "nan", "inf"])
def test_a_weight_out_of_its_range_is_refused(refused, weight):
    assert "'/weight' must be in 0.01 … 100" in refused(
        "accounts", "create", "--name", "a", "--weight", weight
    )


def test_the_weight_of_no_account_cannot_be_changed(refused):
    assert "must be an existing account" in refused("accounts", "weight", "0" * 32, "2")


def test_limits_are_shown_and_changed_one_by_one(sirocco):
    account_id = sirocco("accounts", "create", "--name", "a").out.strip()

    def limits(*options: str):
        (row,) = json.loads(sirocco("accounts", "limits", account_id, *options, "--json").out)
        return row

    default = {"daily_neurons": "default", "daily_tokens": "default", "per_minute": "default"}
    assert limits() == default
    assert limits("--daily-neurons", "10000.5", "--per-minute", "300") == {
        "daily_neurons": 10000.5, "daily_tokens": "default", "per_minute": 300
    }  # fmt: skip
    assert limits("--daily-tokens", "0", "--daily-neurons", "default") == default | {
        "daily_tokens": 0, "per_minute": 300
    }  # fmt: skip
    (listed,) = json.loads(sirocco("accounts", "list", "--json").out)
    assert listed.items() >= limits().items()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--per-minute", "many"], "--per-minute must be a number or 'default', got 'many'"),
        (["--daily-tokens", "1.5"], "--daily-tokens must be a number or 'default', got '1.5'"),
        (["--daily-neurons", "nan"], "'/daily_neurons' must be in 0 … 1000000000000, got nan"),
        (["--per-minute=-1"], "'/per_minute' must be in 0 … 100000, got -1"),
    ],
)
def test_a_limit_that_is_none_is_refused(sirocco, refused, options, reason):
    account_id = sirocco("accounts", "create", "--name", "a").out.strip()

    assert refused("accounts", "limits", account_id, *options) == reason


def test_limits_of_no_account_are_refused(refused):
    assert refused("accounts", "limits", "0" * 32) == f"there is no account {'0' * 32!r}"
