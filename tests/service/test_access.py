"""An API token that was good a moment ago is known; it was never more than a moment."""

import asyncio

import pytest

from sirocco.errors import WrongCredentials
from sirocco.service import access as module
from sirocco.service.access import RECENT_S, Access
from sirocco.store.accounts import Accounts
from sirocco.store.api_tokens import ApiTokens
from sirocco.store.scopes import Scope


@pytest.fixture
def account_id(database) -> str:
    return Accounts(database).create("Levante").id


@pytest.fixture
def tokens(database) -> ApiTokens:
    return ApiTokens(database, b"p" * 32)


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def access(tokens, now) -> Access:
    return Access(tokens, clock=lambda: now[0])


def show(access, secret, account_id):
    return asyncio.run(access.caller(secret, account_id, Scope.RUN))


def test_who_was_recognised_is_known_for_a_moment(access, tokens, account_id, now):
    secret, token = tokens.create(account_id, name="x")
    before = access.recent_caller(secret, account_id, Scope.RUN)
    caller = show(access, secret, account_id)

    now[0] += RECENT_S
    at_the_end = access.recent_caller(secret, account_id, Scope.RUN)
    now[0] += 0.001
    after = access.recent_caller(secret, account_id, Scope.RUN)

    assert (before, at_the_end, after) == (None, caller, None)
    assert caller.api_token_id == token.id


def test_who_was_found_revoked_is_forgotten(access, tokens, account_id):
    secret, token = tokens.create(account_id, name="x")
    show(access, secret, account_id)
    tokens.revoke(token.id, account_id)

    with pytest.raises(WrongCredentials):
        show(access, secret, account_id)

    assert access.recent_caller(secret, account_id, Scope.RUN) is None


def test_it_is_known_for_its_account_and_its_scopes_alone(access, tokens, account_id):
    secret, _ = tokens.create(account_id, name="x", scopes=[Scope.READ])
    asyncio.run(access.verified(secret))

    assert access.recent_caller(secret, account_id, Scope.READ) is not None
    assert access.recent_caller(secret, account_id, Scope.RUN) is None
    assert access.recent_caller(secret, "f" * 32, Scope.READ) is None


@pytest.mark.parametrize("secret", ["", "x", "x" * 40, "\ud800" * 40])
def test_what_was_never_found_is_not_known(access, account_id, secret):
    assert access.recent_caller(secret, account_id, Scope.RUN) is None


def test_no_more_are_kept_than_fit(access, tokens, account_id, monkeypatch):
    monkeypatch.setattr(module, "_MOST_RECENT", 2)
    secrets = [tokens.create(account_id, name="x")[0] for _ in range(3)]
    for secret in secrets:
        show(access, secret, account_id)

    known = [access.recent_caller(secret, account_id, Scope.RUN) is not None for secret in secrets]

    assert known == [False, True, True]
