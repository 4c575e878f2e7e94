"""A secret goes in by every door, and comes out of none: logs, answers, files, metrics."""

import json
import uuid
from collections.abc import Iterator

import httpx
import pytest
from tests.served import Served

CANARY = "canary" + uuid.uuid4().hex + "xy"  # as long as an API token


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("home") / "sirocco", log_format="json",
                    log_level="debug")  # fmt: skip
    try:
        yield server
    finally:
        server.stop()


def answers(served: Served) -> list[httpx.Response]:
    """Ask for everything, well and badly, with good API tokens and with the canary as one."""
    account = served.path.split("/ai/run/")[0]
    model_id = served.path.split("/ai/run/")[1]
    prompt = {"prompt": f"Say {CANARY}", "max_tokens": 2}
    chat = {"model": model_id, "messages": [{"role": "user", "content": CANARY}], "max_tokens": 2}
    asked: list[tuple[str, str, object]] = [
        ("POST", served.path, prompt),
        ("POST", served.path, {**prompt, "stream": True}),
        ("POST", served.path, {**prompt, "temperature": CANARY * 50}),
        ("POST", served.path, {**prompt, "max_tokens": -1}),
        ("POST", served.path, {**prompt, "response_format": {"type": "json_schema",
                                                             "json_schema": {"type": "a"}}}),
        ("POST", served.path + "?queueRequest=true", {"requests": [prompt]}),
        ("POST", f"{account}/ai/v1/chat/completions", chat),
        ("POST", f"{account}/ai/v1/chat/completions", {**chat, "stream": True}),
        ("POST", f"{account}/ai/v1/responses", {"model": model_id, "input": CANARY}),
        ("POST", f"{account}/ai/inspect/{model_id}", {"prompt": CANARY}),
        ("GET", f"{account}/ai/usage", None),
        ("GET", f"{account}/ai/models/search", None),
        ("GET", f"{account}/tokens/verify", None),
        ("GET", f"{served.url}/client/v4/user", None),
        ("POST", f"{served.url}/run", prompt),
        ("GET", f"{served.url}/no/such/path", None),
        ("GET", f"{served.url}/health/ready", None),
    ]  # fmt: skip
    credentials = [
        served.headers, {"Authorization": f"Bearer {CANARY}"}, {"Authorization": CANARY},
        {},
    ]  # fmt: skip
    return [
        httpx.request(method, url, json=body, headers=headers, timeout=60)
        for headers in credentials
        for method, url, body in asked
    ]


@pytest.mark.slow
def test_nothing_that_was_secret_is_found_anywhere(served: Served) -> None:
    secret = served.headers["Authorization"].removeprefix("Bearer ")
    answered = answers(served)
    metrics = httpx.get(f"{served.url}/metrics").text
    served.stop()
    kept = [path for path in served.home.rglob("*") if path.is_file()]
    log = served.log.read_bytes()
    written = b"".join([log, metrics.encode(), *(str(a.headers).encode() for a in answered)])

    assert {a.status_code for a in answered} >= {200, 400, 401}
    assert json.loads(log.splitlines()[0])
    assert any(path.name == "sirocco.db" for path in kept)
    assert CANARY.encode() not in written
    assert secret.encode() not in written
    assert not [path for path in kept if secret.encode() in path.read_bytes()]
    assert not [a.request.url for a in answered if secret in a.text]
    # Whoever sends it as an API token is not told it again.
    as_token = [a for a in answered if CANARY in a.request.headers.get("authorization", "")]
    assert not [a.request.url for a in as_token if CANARY in a.text]
