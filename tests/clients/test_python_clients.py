"""Clients that other people wrote in Python, each in its own words."""

import json

import pytest
from tests.clients.conftest import MAX_TOKENS, MODEL, Clients


@pytest.fixture(scope="module")
def cloudflare(ask_from_python):
    return ask_from_python("ask_cloudflare.py")


@pytest.fixture(scope="module")
def litellm(ask_from_python):
    return ask_from_python("ask_litellm.py")


@pytest.fixture(scope="module")
def langchain(ask_from_python):
    return ask_from_python("ask_langchain.py")


def test_cloudflare_gets_an_answer_whole_and_streamed(cloudflare, answer):
    assert cloudflare["text"] == cloudflare["streamed"] == answer
    assert cloudflare["is_whole"]
    assert cloudflare["usage"]["completion_tokens"] == MAX_TOKENS


def test_cloudflare_raises_with_status_and_code(cloudflare):
    assert cloudflare["refusal"] == {"class": "BadRequestError", "status": 400, "codes": [5007]}


def test_cloudflare_lists_what_there_is_and_comes_to_an_end(cloudflare):
    assert MODEL in cloudflare["models"]
    assert len(cloudflare["mistrals"]) > 1, "one a page, so several pages"
    assert set(cloudflare["mistrals"]) < set(cloudflare["models"])
    assert cloudflare["schema"] == ["input", "output"]
    assert cloudflare["tasks"] == ["Text Generation"]
    assert "mistral" in cloudflare["authors"]
    assert cloudflare["finetunes"] == []


def test_cloudflare_learns_whose_api_token_it_has(cloudflare, clients: Clients):
    assert cloudflare["verified"] == "active"
    assert cloudflare["accounts"] == cloudflare["memberships"] == [clients.account_id]


@pytest.mark.parametrize("provider", ["cloudflare", "openai"])
def test_litellm_gets_an_answer_whole_and_streamed(litellm, answer, provider):
    asked = litellm[provider]

    assert asked["text"] == asked["streamed"] == answer
    assert asked["finish_reason"] == asked["streamed_finish_reason"] == "length"
    assert asked["usage"]["completion_tokens"] == MAX_TOKENS


@pytest.mark.parametrize("provider", ["cloudflare", "openai"])
def test_litellm_raises_a_bad_request(litellm, provider):
    refusal = litellm[provider]["refusal"]

    assert (refusal["class"], refusal["status"]) == ("BadRequestError", 400)


def test_litellm_says_why_the_native_provider_was_refused(litellm):
    assert "No such model" in litellm["cloudflare"]["refusal"]["text"]


def test_langchain_gets_an_answer_whole_and_streamed(langchain, answer):
    assert langchain["text"] == langchain["streamed"] == answer
    assert langchain["usage"]["completion_tokens"] == MAX_TOKENS


def test_langchain_gets_json(langchain):
    """For this family it writes `guided_json`, with an empty schema for any object."""
    person = json.loads(langchain["person"])

    assert person["name"] in ("Ann", "Bob")
    assert person["age"] in (1, 2)
    assert langchain["any_json"] == '{"'


def test_langchain_raises_with_the_servers_envelope(langchain):
    assert langchain["refusal"] == {"class": "HTTPStatusError", "status": 400, "codes": [5007]}
