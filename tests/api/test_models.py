"""The catalogue over HTTP: shapes that real tools read, and pages that end."""

import functools
import uuid

import httpx
import pytest
from tests.api.conftest import MISTRAL, MODEL

from sirocco import AI

get = functools.partial(httpx.get, timeout=60)


@pytest.fixture
def ask(server):
    def ask_path(path, **query):
        url = f"{server.url}/client/v4/accounts/{server.account_id}/ai/{path}"
        return get(url, params=query, headers=server.headers)

    return ask_path


@pytest.fixture
def rows(ask):
    return lambda **query: ask("models/search", **query).json()["result"]


def properties(row):
    return {p["property_id"]: p["value"] for p in row["properties"]}


def refusal(response):
    assert response.status_code == 400
    error = response.json()["errors"][0]
    return error["code"], error["message"]


def test_a_search_answers_in_the_envelope_with_where_the_page_stands(ask):
    body = ask("models/search", per_page=3, page=2).json()

    assert list(body) == ["result", "success", "errors", "messages", "result_info"]
    info = body["result_info"]
    assert (info["count"], info["page"], info["per_page"]) == (3, 2, 3)
    assert info["total_count"] > 6


def test_a_row_has_the_documented_members(rows):
    (row,) = rows(search=MISTRAL, author="mistral")

    assert list(row) == [
        "id", "source", "name", "description", "task", "created_at", "tags", "properties",
    ]  # fmt: skip
    assert (row["id"], row["source"]) == ("c907d0f9-d69d-4e93-b501-4daeb4fd69eb", 1)
    assert row["task"]["name"] == "Text Generation"
    assert row["task"]["id"] == "c329a1f9-323d-4e91-b2aa-582dd4188d34"
    assert properties(row)["context_window"] == "32768"
    assert properties(row)["input_usd_per_m_tokens"] == "0.110"
    assert properties(row)["is_installed"] == "false"


def test_every_row_has_an_id_of_its_own_and_properties_that_are_texts(rows):
    found = rows()

    assert len({uuid.UUID(row["id"]) for row in found}) == len(found)
    assert rows() == found
    assert all(isinstance(p["value"], str) for row in found for p in row["properties"])


def test_what_is_here_and_what_cannot_run_is_told(rows):
    known = {row["name"]: properties(row) for row in rows()}

    assert known[MODEL]["is_installed"] == "true"
    assert "unsupported" not in known[MODEL]
    assert "prompt" in known["@hf/thebloke/llamaguard-7b-awq"]["unsupported"]
    assert known["@hf/thebloke/llamaguard-7b-awq"]["beta"] == "true"


def test_filters_are_parameters(rows):
    assert [row["name"] for row in rows(search="mistral", author="mistral", source=1)] == [MISTRAL]
    assert rows(task="Translation") == []
    assert len(rows(hide_experimental="true")) < len(rows(hide_experimental="false"))
    assert rows(include_deprecated="true", nobody_knows="x", search="") == rows()


@pytest.mark.parametrize("path", ["models/search", "tasks/search", "authors/search"])
def test_a_pager_that_goes_on_until_a_page_is_empty_ends(ask, path):
    n_pages = 0
    while ask(path, page=n_pages + 1, per_page=5).json()["result"]:
        n_pages += 1
        assert n_pages < 100


def test_a_pager_that_names_no_size_ends_after_one_page(rows):
    assert rows(page=2) == []


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"page": 0}, "'/page' must be >= 1, got '0'"),
        ({"per_page": "many"}, "'/per_page'"),
        ({"source": "cf"}, "'/source'"),
        ({"hide_experimental": "perhaps"}, "'/hide_experimental'"),
        ({"format": "openrouter"}, "'/format' 'openrouter' is not supported"),
    ],
)
def test_a_faulty_parameter_is_named(ask, query, sentence):
    code, message = refusal(ask("models/search", **query))

    assert code == 5006
    assert sentence in message


def test_the_limit_of_a_server_is_the_limit_that_is_told(serve, tmp_path):
    with (
        serve(tmp_path, max_seq_len=128) as small,
        AI(small.url, small.account_id, small.secret) as ai,
    ):
        known = {model["name"]: properties(model) for model in ai.models()}

    assert known[MISTRAL]["context_window"] == "128"


def test_our_client_lists_all_pages(server, rows):
    with AI(server.url, server.account_id, server.secret) as ai:
        assert ai.models() == rows()
        assert [m["name"] for m in ai.models(MISTRAL, source=1, hide_experimental=True)] == [
            MISTRAL
        ]


@pytest.mark.parametrize("model", [MISTRAL, MODEL])
def test_a_schema_tells_what_goes_in_and_out(ask, model):
    schema = ask("models/schema", model=model).json()["result"]

    prompt, messages = schema["input"]["oneOf"]
    assert (prompt["required"], messages["required"]) == (["prompt"], ["messages"])
    assert prompt["properties"]["max_tokens"] == {
        "type": "integer", "default": 256, "minimum": 1,
    }  # fmt: skip
    assert "messages" not in prompt["properties"]
    assert "prompt" not in messages["properties"]
    assert schema["output"]["oneOf"][1]["contentType"] == "text/event-stream"


def test_a_schema_needs_a_model(ask):
    assert refusal(ask("models/schema"))[0] == 5006
    assert refusal(ask("models/schema", model="@cf/x/y"))[0] == 5007


def test_tasks_and_authors_are_those_of_the_models(ask):
    (task,) = ask("tasks/search").json()["result"]
    authors = [author["name"] for author in ask("authors/search").json()["result"]]

    assert (task["name"], len(authors)) == ("Text Generation", len(set(authors)))
    assert {"mistral", "meta", "thebloke"} <= set(authors)


@pytest.mark.parametrize(
    "path", ["finetunes", "finetunes/", "finetunes?", "finetunes/public?limit=5&offset=0"]
)
def test_there_are_no_adapters(ask, path):
    response = ask(path)

    assert response.status_code == 200
    assert response.json() == {"result": [], "success": True, "errors": [], "messages": []}


@pytest.mark.parametrize(
    "path", ["models/search", "models/schema", "tasks/search", "authors/search", "finetunes",
             "finetunes/public"],
)  # fmt: skip
def test_the_catalogue_is_for_account_holders(server, path):
    response = get(f"{server.url}/client/v4/accounts/{server.account_id}/ai/{path}")

    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, 9106)
