"""Accounts are made, found again, and listed in order."""

import re
from datetime import UTC, datetime

import pytest

from sirocco.errors import InvalidInput
from sirocco.store.accounts import Account, Accounts
from sirocco.store.db import Database


def test_an_account_is_found_as_it_was_made(database):
    accounts = Accounts(database, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    account = accounts.create("Levante")

    assert account == Account(account.id, "Levante", datetime(2026, 1, 1, tzinfo=UTC))
    assert accounts.find(account.id) == account


def test_an_account_survives_closing_the_database(database, database_url):
    account = Accounts(database).create("Levante")
    database.close()

    reopened = Database.open(database_url)

    assert Accounts(reopened).find(account.id) == account
    reopened.close()


def test_an_id_is_32_hex_digits_and_new_each_time(database):
    accounts = Accounts(database)

    ids = {accounts.create("same name").id for _ in range(5)}

    assert len(ids) == 5
    assert all(re.fullmatch("[0-9a-f]{32}", account_id) for account_id in ids)


@pytest.mark.parametrize("account_id", ["0" * 32, "", "nonsense", "\ud800", "\0", "' OR '1'='1"])
def test_what_is_no_account_is_not_found(database, account_id):
    accounts = Accounts(database)
    accounts.create("Levante")

    assert accounts.find(account_id) is None


def test_an_id_is_found_only_exactly(database):
    accounts = Accounts(database)
    account = accounts.create("Levante")

    assert accounts.find(account.id[:-1]) is None
    assert accounts.find(account.id + "\n") is None
    assert accounts.find(account.id[:-1] + "%") is None


def test_all_accounts_come_oldest_first(database):
    years = iter([2026, 2024, 2027, 2025])
    accounts = Accounts(database, clock=lambda: datetime(next(years), 1, 1, tzinfo=UTC))
    for name in ("third", "first", "fourth", "second"):
        accounts.create(name)

    names = [account.name for account in accounts.all()]

    assert names == ["first", "second", "third", "fourth"]


def test_a_blank_database_has_no_accounts(database):
    assert Accounts(database).all() == []


@pytest.mark.parametrize("name", ["x", "x" * 100, "東風 🌬️", "it's; DROP TABLE accounts --"])
def test_a_name_of_1_to_100_characters_is_kept(database, name):
    accounts = Accounts(database)

    account = accounts.create(name)

    assert accounts.find(account.id) == account
    assert account.name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "'/name' must have 1 to 100 characters, got '' with 0"),
        ("x" * 101, "'/name' must have 1 to 100 characters, got 'xxxxxxxxxxxx...xxxxxxxxxxxxx' "),
        ("a\nb", r"'/name' must have no control characters, got 'a\nb'"),
        ("a\0", r"'/name' must have no control characters, got 'a\x00'"),
        ("a\x7f", r"'/name' must have no control characters, got 'a\x7f'"),
        ("a\ud800", r"'/name' must have no control characters, got 'a\ud800'"),
    ],
)
def test_a_bad_name_is_refused_and_nothing_kept(database, name, message):
    accounts = Accounts(database)

    with pytest.raises(InvalidInput, match=re.escape(message)):
        accounts.create(name)

    assert accounts.all() == []
