"""What a client learns about itself: its API token, its account, and of no other."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

OTHER = "0123456789abcdef" * 2


def get(server, path, secret=None):
    """Ask with an API token, by default the server's own."""
    headers = {"Authorization": f"Bearer {secret or server.secret}"}
    return httpx.get(f"{server.url}/client/v4{path}", headers=headers, timeout=60)


def make(server, **options):
    return server.stores.api_tokens.create(server.account_id, name="x", **options)


@pytest.mark.parametrize("path", ["/user/tokens/verify", "/accounts/{id}/tokens/verify"])
def test_a_good_api_token_is_told_so(server, path):
    secret, token = make(server)

    response = get(server, path.format(id=server.account_id), secret)

    assert (response.status_code, response.json()) == (200, {
        "result": {"id": token.id, "status": "active"},
        "success": True,
        "errors": [],
        "messages": [
            {"code": 10000, "message": "This API Token is valid and active", "type": None}
        ],
    })  # fmt: skip


def test_an_api_token_that_will_end_is_told_when(server):
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    secret, _ = make(server, expires_at=end)

    result = get(server, "/user/tokens/verify", secret).json()["result"]

    assert datetime.fromisoformat(result["expires_on"]) == end


@pytest.mark.parametrize("scope", ["ai:read", "ai:run"])
def test_every_api_token_may_ask_about_itself(server, scope):
    secret, _ = make(server, scopes=[scope])

    assert get(server, "/user/tokens/verify", secret).status_code == 200
    assert get(server, "/user", secret).json()["result"]["id"] == server.account_id


@pytest.mark.parametrize("path", ["/user/tokens/verify", "/accounts/{id}/tokens/verify"])
def test_an_api_token_that_is_unknown_is_invalid(server, path):
    response = get(server, path.format(id=server.account_id), "a" * 40)

    assert response.status_code == 401
    assert response.json()["errors"] == [{"code": 1000, "message": "Invalid API Token"}]


def test_an_api_token_is_invalid_for_another_account(server):
    response = get(server, f"/accounts/{OTHER}/tokens/verify")

    assert (response.status_code, response.json()["errors"][0]["code"]) == (401, 1000)


def test_an_api_token_sees_its_own_account_alone(server):
    server.stores.accounts.create("other")

    body = get(server, "/accounts").json()

    assert [account["id"] for account in body["result"]] == [server.account_id]
    assert body["result_info"] == {
        "page": 1, "per_page": 20, "count": 1, "total_count": 1, "total_pages": 1
    }  # fmt: skip
    assert get(server, f"/accounts/{server.account_id}").json()["result"] == body["result"][0]
    assert get(server, f"/accounts/{OTHER}").status_code == 401


def test_an_api_token_is_a_member_of_its_own_account_alone(server):
    """wrangler takes an account only if it is in both lists."""
    (membership,) = get(server, "/memberships").json()["result"]

    assert membership["account"] == get(server, "/accounts").json()["result"][0]
    assert membership["status"] == "accepted"


@pytest.mark.parametrize("path", ["/accounts", "/memberships"])
def test_the_second_page_is_empty(server, path):
    """Clients ask for the next page until one is empty."""
    assert get(server, f"{path}?page=2").json()["result"] == []


@pytest.mark.parametrize("query", ["page=0", "page=x", "per_page=-1", "per_page=9999999", "page="])
def test_a_page_that_is_none_is_refused(server, query):
    response = get(server, f"/accounts?{query}")

    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, 5006)


def test_looking_needs_the_scope_to_look(server):
    secret, _ = make(server, scopes=["ai:run"])

    for path in ("/accounts", f"/accounts/{server.account_id}", "/memberships"):
        response = get(server, path, secret)
        assert response.status_code == 403
        assert response.json()["errors"] == [{"code": 10000, "message": "Authentication error"}]


def test_running_needs_the_scope_to_run(server):
    secret, _ = make(server, scopes=["ai:read"])

    response = server.run({"prompt": "x"}, headers={"Authorization": f"Bearer {secret}"})

    assert (response.status_code, response.json()["errors"][0]["code"]) == (403, 10000)
