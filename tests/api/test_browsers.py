"""A page of another origin, or one that has rebound its name to us, gets nothing done here.

Nothing that a browser sends by itself is a credential, and no answer lets another origin read it.
"""

import httpx
import pytest

EVIL = "http://evil.example"
OPEN = ["/", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"]


def asked(server, method, path, **headers):
    return httpx.request(method, f"{server.url}{path}", headers=headers, timeout=60)


@pytest.mark.parametrize("path", [*OPEN, "/client/v4/accounts", "/run", "/no/such/path"])
def test_no_answer_may_be_read_by_another_origin(server, path):
    answer = asked(server, "GET", path, origin=EVIL)

    assert [name for name in answer.headers if name.startswith("access-control-")] == []


@pytest.mark.parametrize("path", ["/client/v4/accounts", "/run", "/"])
def test_no_browser_is_told_that_it_may_send_credentials(server, path):
    """Without this leave it does not send an Authorization header to another origin at all."""
    answer = asked(server, "OPTIONS", path, **{
        "origin": EVIL, "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    })  # fmt: skip

    assert answer.status_code in (400, 405)
    assert [name for name in answer.headers if name.startswith("access-control-")] == []


@pytest.mark.parametrize("host", ["evil.example:8787", "127.0.0.1.evil.example", "", "[::1]"])
def test_what_a_page_can_send_by_itself_runs_nothing(server, host):
    """A form, or fetch without leave: no header of its own but Host, Origin and cookies."""
    path = httpx.URL(server.path()).path
    sent = {"host": host, "origin": EVIL, "cookie": f"Authorization=Bearer {server.secret}",
            "content-type": "text/plain"}  # fmt: skip
    answer = httpx.post(f"{server.url}{path}", headers=sent, content=b'{"prompt": "x"}', timeout=60)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 9106)


@pytest.mark.parametrize("path", OPEN)
def test_no_route_sets_a_cookie(server, path):
    assert "set-cookie" not in asked(server, "GET", path).headers


def test_the_page_may_not_be_framed(server):
    """Or another page could lay it under its own, and let a person click on it."""
    policy = asked(server, "GET", "/").headers["content-security-policy"]

    assert "frame-ancestors 'none'" in policy
