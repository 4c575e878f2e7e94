"""What the API says of itself is true; `tests/fuzz` compares it with what it answers."""

import httpx
import pytest
from openapi_spec_validator import validate
from tests.api.test_auth import guarded_routes

from sirocco.api.document import GENERATING, LOOKING, RUNNING, SEARCHING, VERIFYING
from sirocco.wire.status import _ROWS

AUTHENTICATED = {"400", "401", "500", "503"}


@pytest.fixture(scope="module")
def document(server):
    return httpx.get(f"{server.url}/openapi.json", timeout=60).json()


def operations(document):
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def references(part):
    if isinstance(part, dict):
        yield from [part["$ref"]] if "$ref" in part else []
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_it_is_a_document_of_its_kind(document):
    validate(document)


def test_every_reference_leads_somewhere(document):
    for reference in set(references(document)):
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
        assert part


def test_every_definition_is_used(document):
    used = {reference.rpartition("/")[2] for reference in references(document)}

    assert set(document["components"]["schemas"]) == used


def test_a_route_that_is_not_there_is_named_here(server, document):
    hidden = {path for _, path in guarded_routes(server.app)} - {
        path.replace("{model_id}", "{model_id:path}") for path in document["paths"]
    }
    assert hidden == {
        "/client/v4/accounts/{account_id}/ai/run/proxy",  # these three speak the bindings' protocol
        "/run", "/ai-gateway/run", "/ai-api/models/search",
        "/client/v4/accounts/{account_id}/ai/run/",  # what clients write for others of the document
        "/client/v4/accounts/{account_id}/ai/finetunes/",
        "/client/v4/accounts/{account_id}/ai/finetunes/public/",
    }  # fmt: skip


def test_a_route_that_asks_for_credentials_tells_of_their_refusal(document):
    for (_, path), operation in operations(document).items():
        if path.startswith("/client/v4"):
            assert operation["security"] == [{"HTTPBearer": []}]
            assert operation["responses"].keys() >= AUTHENTICATED, path
            assert ("404" in operation["responses"]) == ("{account_id}" in path)
        else:
            assert "security" not in operation


def test_nothing_is_told_of_that_the_framework_alone_would_answer(document):
    assert "422" not in {s for o in operations(document).values() for s in o["responses"]}
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_what_asks_to_come_later_says_when(document):
    for operation in operations(document).values():
        for status in operation["responses"].keys() & {"429", "503"}:
            told = operation["responses"][status]
            assert "retry-after" in told.get("headers", {}) or "NotReady" in str(told)


def test_every_error_that_has_a_row_is_told_of_by_some_route():
    told = {*LOOKING, *SEARCHING, *VERIFYING, *GENERATING, *RUNNING}
    before_any_route = {"HeaderTooLarge", "MalformedRequest"}
    own_row_of_another_route = {"UnknownRequest"}
    families = {"AuthError", "LimitError"}  # their members are what is raised

    untold = {cls.__name__ for cls in _ROWS if not any(issubclass(e, cls) for e in told)}
    assert untold == own_row_of_another_route | before_any_route
    assert families <= {cls.__name__ for cls in _ROWS}


def test_bodies_and_streams_are_described(document):
    run = operations(document)["POST", "/client/v4/accounts/{account_id}/ai/run/{model_id}"]

    kinds = run["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert [kind["$ref"].rpartition("/")[2] for kind in kinds] == [
        "TextGeneration",
        "Batch",
        "Poll",
    ]
    text = document["components"]["schemas"]["TextGeneration"]
    assert {"prompt", "messages", "stream", "temperature", "options"} <= set(text["properties"])
    content = run["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/event-stream"}
    assert "type" not in content["text/event-stream"]["schema"]  # Schemathesis means each event
