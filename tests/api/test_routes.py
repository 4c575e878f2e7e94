"""What is there besides the models, and what is not."""

import functools
import re

import httpx
import pytest

from sirocco.engine.process.client import EngineClient

get = functools.partial(httpx.get, timeout=60)


@pytest.mark.parametrize("path", ["/nothing", "/client/v4", "/client/v4/accounts/x/ai/nothing"])
def test_an_unknown_path_has_no_route(server, path):
    response = get(server.url + path)

    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, 7000)
    assert response.json()["errors"][0]["message"] == "No route for that URI"


def test_a_wrong_method_is_named(server):
    response = get(server.path())

    assert (response.status_code, response.json()["errors"][0]["code"]) == (405, 7001)
    assert response.json()["errors"][0]["message"] == "GET not supported for requested URI."


def test_the_process_is_live_and_ready(server):
    assert get(f"{server.url}/health/live").status_code == 200
    assert get(f"{server.url}/health/ready").json()["status"] == "ready"


def test_a_server_whose_engine_stopped_is_not_ready(server, monkeypatch):
    assert server.client.is_running
    monkeypatch.setattr(EngineClient, "is_running", False)

    response = get(f"{server.url}/health/ready")

    assert response.status_code == 503
    assert response.json()["faults"] == ["the engine of @test/tiny has stopped"]


def test_a_server_without_its_database_is_not_ready(server, monkeypatch):
    def fail():
        raise OSError("gone")

    monkeypatch.setattr(server.stores.database, "ping", fail)

    response = get(f"{server.url}/health/ready")

    assert (response.status_code, get(f"{server.url}/health/live").status_code) == (503, 200)
    assert response.json()["faults"] == ["the database does not answer"]


def test_the_pages_of_the_api_need_no_network(server):
    page = get(f"{server.url}/docs").text

    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    assert all(get(server.url + link).status_code == 200 for link in links)


def test_a_fault_of_ours_tells_nothing_and_the_server_goes_on(server, monkeypatch):
    def fail(_model_id):
        raise RuntimeError("secret detail")

    assert server.run({"prompt": "x", "max_tokens": 1}).status_code == 200  # the door knows us
    with monkeypatch.context() as patched:
        patched.setattr(server.app.state.service.catalog, "find", fail)
        response = server.run({"prompt": "x"})

    assert (response.status_code, response.json()["errors"][0]["code"]) == (500, 1000)
    assert "secret" not in response.text
    assert server.run({"prompt": "x", "max_tokens": 1}).status_code == 200
