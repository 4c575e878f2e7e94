"""No route of an account answers without good credentials of that account."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tests.api.conftest import MODEL

OTHER = "0123456789abcdef" * 2


def account_routes(app):
    """Every method and path of an account that the API's own description names."""
    return [
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        if "{account_id}" in path
        for method in methods
    ]


def ask_every_route(server, headers, account_id=None):
    """Answers of all routes of an account to the same credentials."""
    routes = account_routes(server.app)
    assert routes
    for method, path in routes:
        filled = path.format(account_id=account_id or server.account_id, model_id=MODEL)
        yield httpx.request(
            method, server.url + filled, headers=headers, json={"prompt": "x"}, timeout=60
        )


def revoked(server):
    secret, token = server.stores.api_tokens.create(server.account_id, name="x")
    server.stores.api_tokens.revoke(token.id, server.account_id)
    return secret


def expired(server):
    past = datetime.now(UTC) - timedelta(seconds=1)
    return server.stores.api_tokens.create(server.account_id, name="x", expires_at=past)[0]


def foreign(server):
    other = server.stores.accounts.create("other")
    return server.stores.api_tokens.create(other.id, name="x")[0]


@pytest.mark.parametrize("make", [revoked, expired, foreign, lambda _: "a" * 40])
def test_an_api_token_that_does_not_hold_for_the_account_is_refused(server, make):
    for response in ask_every_route(server, {"Authorization": f"Bearer {make(server)}"}):
        assert response.status_code == 401
        assert response.json() == {
            "result": None,
            "success": False,
            "errors": [{"code": 10000, "message": "Authentication error"}],
            "messages": [],
        }
        assert "cf-ai-req-id" not in response.headers


@pytest.mark.parametrize(
    ("headers", "code", "message"),
    [
        ({}, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
        ({"Authorization": "Basic abc"}, 6003, "Invalid request headers"),
        ({"Authorization": "Bearer"}, 6003, "Invalid request headers"),
        ({"Authorization": ""}, 6003, "Invalid request headers"),
        ({"Authorization": "Bearer short"}, 9106, "Authentication failed (status: 400)"),
        ({"Authorization": "Bearer ' OR 1=1 --"}, 9106, "Authentication failed (status: 400)"),
        ({"Authorization": "Bearer " + "a" * 5000}, 9106, "Authentication failed (status: 400)"),
    ],
)
def test_credentials_that_are_none_are_told_apart(server, headers, code, message):
    for response in ask_every_route(server, headers):
        (error,) = response.json()["errors"]
        assert (response.status_code, error["code"], error["message"]) == (400, code, message)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1@evil.example"])
def test_a_hostile_host_header_opens_no_door(server, host):
    for response in ask_every_route(server, {"Host": host}):
        assert response.status_code == 400


def test_good_credentials_open_no_other_account(server):
    for response in ask_every_route(server, server.headers, account_id=OTHER):
        assert response.status_code == 401


def test_an_account_id_that_cannot_be_one_is_not_routed(server):
    for response in ask_every_route(server, server.headers, account_id="me"):
        (error,) = response.json()["errors"]
        assert (response.status_code, error["code"]) == (404, 7003)
        assert error["message"].startswith("Could not route to /client/v4/accounts/me/")


def test_credentials_stand_in_no_answer_and_no_log(server, caplog):
    secret = "Zz" * 20

    answers = [
        server.run({"prompt": "x"}, headers={"Authorization": f"Bearer {secret}"}),
        server.run({"prompt": "x", secret: 1}, model_id="@cf/x/y"),
    ]

    assert secret not in answers[0].text
    assert secret not in caplog.text
    assert server.secret not in "".join(a.text for a in answers) + caplog.text
