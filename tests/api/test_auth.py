"""Default deny: every route asks for credentials, except the few that are named here."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import fastapi.routing
import httpx
import pytest
from sqlalchemy import text
from starlette.routing import Mount
from tests.api.conftest import MODEL

from sirocco.store.tables import metadata

OTHER = "0123456789abcdef" * 2
PUBLIC = {
    "/", "/playground/{name}", "/docs", "/docs/oauth2-redirect", "/openapi.json",
    "/health/live", "/health/ready", "/metrics",
}  # fmt: skip
"""Paths that answer anybody, beside the files of the pages."""

SCOPES = ("ai:read", "ai:run")


def guarded_routes(app) -> list[tuple[str, str]]:
    """Every method and path that the application routes, but for the public ones."""
    mounts = [route.path for route in app.routes if isinstance(route, Mount)]
    assert mounts == ["/static-offline-docs"], "whatever is mounted asks for no credentials"
    return [
        (method, str(route.path))
        for route in fastapi.routing.iter_route_contexts(app.routes)
        if route.path not in {*PUBLIC, *mounts, None}
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]


def ask_every_route(server, headers, account_id=None) -> Iterator[tuple[str, httpx.Response]]:
    """Answers of all guarded routes to the same credentials, each with its path."""
    routes = guarded_routes(server.app)
    assert ("POST", "/client/v4/accounts/{account_id}/ai/run/{model_id:path}") in routes
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for method, path in routes:
            filled = re.sub(r"\{account_id(:\w+)?\}", account_id or server.account_id, path)
            filled = re.sub(r"\{model_id(:\w+)?\}", MODEL, filled)
            filled = re.sub(r"\{\w+(:\w+)?\}", "0" * 32, filled)
            yield path, client.request(method, filled, headers=headers, json={"prompt": "x"})
        through = {"MF-URL": "https://workers-binding.ai/run?version=3"}  # a door of a public page
        answer = client.post("/", headers=through | headers, json={"inputs": {"prompt": "x"}})
        yield "/", answer


def bearer(secret) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def revoked(server):
    secret, token = server.stores.api_tokens.create(server.account_id, name="x")
    server.stores.api_tokens.revoke(token.id, server.account_id)
    return secret


def expired(server):
    past = datetime.now(UTC) - timedelta(seconds=1)
    return server.stores.api_tokens.create(server.account_id, name="x", expires_at=past)[0]


def unknown(_server):
    return "a" * 40


def foreign(server):
    other = server.stores.accounts.create("other")
    return server.stores.api_tokens.create(other.id, name="x")[0]


def is_refusal(path, response) -> bool:
    """Tell whether this is the one refusal that tells nothing more."""
    asks_itself = path.endswith("/tokens/verify")
    error = (1000, "Invalid API Token") if asks_itself else (10000, "Authentication error")
    expected = {
        "result": None,
        "success": False,
        "errors": [dict(zip(("code", "message"), error, strict=True))],
        "messages": [],
    }
    return (response.status_code, response.json()) == (401, expected)


@pytest.mark.parametrize("make", [revoked, expired, unknown])
def test_an_api_token_that_is_not_good_is_refused_everywhere(server, make):
    for path, response in ask_every_route(server, bearer(make(server))):
        assert is_refusal(path, response), (path, response.text)
        assert "cf-ai-req-id" not in response.headers


def test_an_api_token_of_another_account_is_refused_where_one_is_named(server):
    for path, response in ask_every_route(server, bearer(foreign(server))):
        if "{account_id}" in path:
            assert is_refusal(path, response), (path, response.text)
        else:  # a route for the caller's own account, whichever it is; 400: it wants a body
            assert response.status_code in (200, 400)
            assert server.account_id not in response.text


def test_good_credentials_open_no_other_account(server):
    for path, response in ask_every_route(server, server.headers, account_id=OTHER):
        assert is_refusal(path, response) or "{account_id}" not in path


def test_every_route_needs_one_scope_or_is_named_here(server):
    needs_none = {
        "/client/v4/user",
        "/client/v4/user/tokens/verify",
        "/client/v4/accounts/{account_id}/tokens/verify",
    }
    allowed: dict[str, set[str]] = {}
    for scope in SCOPES:
        secret, _ = server.stores.api_tokens.create(server.account_id, name="x", scopes=[scope])
        for path, response in ask_every_route(server, bearer(secret)):
            # 400, 404: it was let in, and then its body or query was not that route's, or
            # what it names is not there.
            assert response.status_code in (200, 400, 403, 404), (path, response.text)
            if response.status_code != 403:
                allowed.setdefault(path, set()).add(scope)

    assert {path for path, scopes in allowed.items() if len(scopes) > 1} == needs_none
    assert set(allowed) == {path for _, path in guarded_routes(server.app)} | {"/"}


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
    for _, response in ask_every_route(server, headers):
        (error,) = response.json()["errors"]
        assert (response.status_code, error["code"], error["message"]) == (400, code, message)


HOSTILE = (
    {"Host": "127.0.0.1@evil.example", "Origin": "https://evil.example"},
    {"Host": "evil.example", "Origin": "null", "Cookie": f"api_token={'a' * 40}",
     "X-Auth-Email": "somebody@example.com", "X-Auth-Key": "0" * 37},
    {"X-Forwarded-Host": "localhost", "X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1",
     "X-Original-URL": "/health/live", "X-Rewrite-URL": "/health/live",
     "X-HTTP-Method-Override": "GET"},
)  # fmt: skip
"""Headers that elsewhere have opened doors."""

BAD = {
    "none": lambda _server: {},
    "malformed": lambda _server: {"Authorization": "Basic eDp5"},
    "junk": lambda _server: bearer("' OR 1=1 --"),
    "unknown": lambda server: bearer(unknown(server)),
    "revoked": lambda server: bearer(revoked(server)),
    "expired": lambda server: bearer(expired(server)),
    "foreign": lambda server: bearer(foreign(server)),
}


@pytest.mark.parametrize("name", BAD)
def test_no_header_makes_credentials_good_that_are_not(server, name):
    """On every route, whichever there are: the answer is the refusal that it is without it."""
    headers = BAD[name](server)
    told = list(ask_every_route(server, headers))

    for hostile in HOSTILE:
        for (path, plain), (_, response) in zip(
            told, ask_every_route(server, hostile | headers), strict=True
        ):
            if name == "foreign" and "{account_id}" not in path:  # its own account, and no other
                assert server.account_id not in response.text
                continue
            assert response.status_code in (400, 401), (path, hostile)
            assert response.text == plain.text, (path, hostile)


def test_an_api_token_of_the_wrong_scope_is_refused_with_every_header(server):
    secrets = {
        scope: server.stores.api_tokens.create(server.account_id, name="x", scopes=[scope])[0]
        for scope in SCOPES
    }
    n_refused = 0
    for secret in secrets.values():
        told = list(ask_every_route(server, bearer(secret)))
        for hostile in HOSTILE:
            for (path, plain), (_, response) in zip(
                told, ask_every_route(server, hostile | bearer(secret)), strict=True
            ):
                if plain.status_code == 403:
                    assert (response.status_code, response.text) == (403, plain.text), path
                    n_refused += 1

    assert n_refused >= len(HOSTILE) * len(guarded_routes(server.app)) / 2


def test_no_page_of_another_origin_may_read_an_answer(server):
    """No cookies, and no leave for other origins: a browser keeps what we answer to itself."""
    for _, response in ask_every_route(server, {"Origin": "https://evil.example"}):
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert "set-cookie" not in response.headers


def test_an_account_id_that_cannot_be_one_is_not_routed(server):
    for path, response in ask_every_route(server, server.headers, account_id="me"):
        if "{account_id}" in path:
            (error,) = response.json()["errors"]
            assert (response.status_code, error["code"]) == (404, 7003)
            assert error["message"].startswith("Could not route to /client/v4/accounts/me")


def test_no_secret_stands_in_an_answer_a_log_or_a_table(serve, tmp_path, caplog, capfd):
    """A canary in each place where a secret can come in, and a look at all that came out."""
    caplog.set_level("DEBUG")
    with serve(tmp_path) as server:
        secrets = [server.secret, "Zz" * 20, revoked(server), expired(server), foreign(server)]
        answers = [
            response.text
            for secret in secrets
            for headers in (bearer(secret), {"Authorization": f"Basic {secret}"})
            for _, response in ask_every_route(server, headers)
        ]
        answers.append(server.run({"prompt": "x", secrets[1]: 1}, model_id="@cf/x/y").text)
        tables = everything_in(server.stores.database)
        pepper = (tmp_path / "pepper").read_bytes()
    log = caplog.text + "".join(capfd.readouterr())
    files = b"".join(
        f.read_bytes() for f in tmp_path.rglob("*") if f.is_file() if f.name != "pepper"
    )

    assert server.account_id in tables  # this would find them
    for secret in secrets:
        assert secret[:8] not in log
        assert secret not in "".join(answers) + tables
        assert secret[8:].encode() not in files
    assert pepper not in files
    assert pepper.hex() not in tables + log


def everything_in(database) -> str:
    """Write out every row of every table."""
    with database.connect() as connection:
        return "".join(
            repr(connection.execute(text(f"SELECT * FROM {table.name}")).all())  # noqa: S608
            for table in metadata.sorted_tables
        )
