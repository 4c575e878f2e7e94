"""Clients that other people wrote for Node.js, each in its own words."""

import pytest
from tests.clients.conftest import MAX_TOKENS, MODEL, Clients

from sirocco.catalog import EMBEDDED_MODEL_ID


@pytest.fixture(scope="module")
def cloudflare(ask_from_node):
    return ask_from_node("cloudflare.mjs")


@pytest.fixture(scope="module")
def openai(ask_from_node):
    return ask_from_node("openai.mjs")


@pytest.fixture(scope="module")
def provider(ask_from_node):
    return ask_from_node("workers-ai-provider.mjs")


def test_cloudflare_gets_an_answer_whole_and_streamed(cloudflare, answer):
    assert cloudflare["text"] == cloudflare["streamed"] == answer
    assert cloudflare["is_whole"]
    assert cloudflare["usage"]["completion_tokens"] == MAX_TOKENS


def test_cloudflare_throws_with_status_and_code(cloudflare):
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


def test_openai_gets_an_answer_whole_and_streamed(openai, answer):
    assert openai["text"] == openai["streamed"] == openai["response"] == answer
    assert openai["finish_reason"] == openai["streamed_finish_reason"] == "length"
    assert openai["usage"]["completion_tokens"] == MAX_TOKENS
    assert openai["streamed_usage"]["completion_tokens"] == MAX_TOKENS


def test_openai_throws_and_says_why(openai):
    refusal = openai["refusal"]

    assert (refusal["class"], refusal["status"]) == ("BadRequestError", 400)
    assert "No such model" in refusal["text"]


def test_openai_lists_the_models_that_are_here(openai):
    assert openai["models"] == [EMBEDDED_MODEL_ID]


def test_the_ai_sdk_gets_an_answer_whole_and_streamed(provider, answer):
    assert provider["text"] == provider["streamed"] == answer
    assert provider["n_pieces"] > 1
    assert provider["usage"]["completion_tokens"] == MAX_TOKENS


def test_the_ai_sdk_takes_a_stream_for_whole(provider):
    """It would say `error` of one without `[DONE]`."""
    assert provider["streamed_finish_reason"] == "stop"
    assert provider["streamed_usage"]["completion_tokens"] == MAX_TOKENS


def test_the_ai_sdk_calls_tools_whole_and_streamed(provider):
    """Several in an answer: in a stream it puts them together by their index."""
    assert len(provider["calls"]) > 1
    assert all(call in (["now", {"zone": "UTC"}], ["now", {"zone": "CET"}])
               for call in provider["calls"])  # fmt: skip
    assert provider["streamed_calls"] == provider["calls"]
    assert provider["results"] == ["noon"] * len(provider["calls"])


def test_the_ai_sdk_gets_json(provider):
    assert provider["json"]["zone"] in ("UTC", "CET")


def test_the_ai_sdk_throws_with_the_servers_envelope(provider):
    assert provider["refusal"] == {"class": "APICallError", "status": 400, "codes": [5007]}
