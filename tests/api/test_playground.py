"""The playground's page and files: what may be kept, what may run, and what is not given away."""

import re

import httpx
import pytest

from sirocco.api.playground import FOLDER

FILES = sorted(path.name for path in FOLDER.iterdir())


def policy_of(response) -> dict[str, list[str]]:
    """The content security policy, by directive."""
    words = [part.split() for part in response.headers["content-security-policy"].split(";")]
    return {name: values for name, *values in words}


def test_the_front_page_names_files_that_are_there(server):
    page = httpx.get(f"{server.url}/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) >= 4
    for path in named:
        assert path.startswith("/playground/")
        assert httpx.get(server.url + path).status_code == 200, path


def test_nothing_runs_on_the_page_but_files_of_this_server(server):
    policy = policy_of(httpx.get(f"{server.url}/"))

    assert policy.pop("default-src") == ["'none'"]
    assert policy.pop("require-trusted-types-for") == ["'script'"]
    assert policy.pop("trusted-types") == ["dompurify"]
    allowed = {source for sources in policy.values() for source in sources}
    assert allowed == {"'self'", "'none'"}
    assert policy["connect-src"] == policy["script-src"] == ["'self'"]


@pytest.mark.parametrize("name", [name for name in FILES if name != "index.html"])
def test_a_file_is_kept_for_as_long_as_its_name_stays(server, name):
    response = httpx.get(f"{server.url}/playground/{name}")

    assert response.status_code == 200
    assert response.content == (FOLDER / name).read_bytes()
    assert response.headers["x-content-type-options"] == "nosniff"
    has_hash = re.search(r"-[A-Z0-9]{8}\.\w+$", name) is not None
    assert has_hash == ("immutable" in response.headers.get("cache-control", ""))
    assert has_hash or name == "licenses.txt"


@pytest.mark.parametrize(
    "path",
    ["none.js", "..%2F__init__.py", "..%2fapp.py", "%2e%2e", "index.html", ".", "..%5capp.py"],
)
def test_nothing_else_is_given(server, path):
    response = httpx.get(f"{server.url}/playground/{path}")

    assert response.status_code in (400, 404)
    assert response.json()["errors"][0]["code"] == 7000


def test_the_page_is_small():
    """Unpacked bytes of all scripts together."""
    scripts = [path.stat().st_size for path in FOLDER.glob("*.js")]

    assert scripts
    assert sum(scripts) < 300_000
