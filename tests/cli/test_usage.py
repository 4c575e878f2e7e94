"""Usage on the command line: a table for people, JSON for programs."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from sirocco.store.stores import open_stores
from sirocco.store.usage import UsageRow
from sirocco.types import FinishReason


@pytest.fixture
def account(home):
    """An account that made a request today, and one 40 days ago."""
    stores = open_stores(home, f"sqlite:///{home / 'sirocco.db'}")
    account = stores.accounts.create("Levante")
    _, token = stores.api_tokens.create(account.id, name="laptop")
    for days in (0, 40):
        started_at = datetime.now(UTC) - timedelta(days=days)
        stores.usage.record(UsageRow(
            f"r{days}", account.id, token.id, "@cf/x/y", 10, 4, 2, FinishReason.STOP, started_at,
            0.1, 0.2, 1.25,
        ))  # fmt: skip
    stores.database.close()
    return account


def test_a_table_by_day(sirocco, account):
    header, row = sirocco("usage").out.splitlines()

    assert header.split() == [
        "day", "requests", "prompt_tokens", "cached_tokens", "output_tokens", "neurons"
    ]  # fmt: skip
    assert row.split()[1:] == ["1", "10", "2", "4", "1.25"]


@pytest.mark.parametrize(("by", "keys"), [("model", {"model"}), ("token", {"token", "name"})])
def test_json_by_other_groups_and_for_longer(sirocco, account, by, keys):
    done = sirocco("usage", "--by", by, "--days", "41", "--account", account.id, "--json")

    (row,) = json.loads(done.out)
    assert row.keys() - keys == {
        "requests", "prompt_tokens", "cached_tokens", "output_tokens", "neurons"
    }  # fmt: skip
    assert (row["requests"], row["neurons"]) == (2, 2.5)


def test_without_usage_there_is_a_sentence(sirocco):
    assert sirocco("usage").out == "Nothing was used in this time.\n"
    assert sirocco("usage", "--json").out == "[]\n"


def test_what_cannot_be_shown_is_refused(refused, account):
    assert refused("usage", "--by", "hour") == "'/by' must be day, model or token, got 'hour'"
    assert refused("usage", "--account", "x") == "--account: there is no account 'x'"
