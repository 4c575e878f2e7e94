"""The commands that people paste: that of Cloudflare's first post, and those of its documents."""

import json
import shutil

import pytest
from tests.clients.conftest import MAX_TOKENS, MODEL, PROMPT, UNKNOWN_MODEL, Clients, Program
from tests.left_out import CURL, leave_out

from sirocco.wire.sse import Decoder

JSON = ["-H", "Content-Type:application/json"]
ESCAPED_MODEL = MODEL.replace("/", "%2F")


@pytest.fixture
def curl(clients: Clients):
    """Ask with the post's command."""
    if shutil.which("curl") is None:
        leave_out(CURL)

    def ask(body: object, *options: str, model: str = MODEL) -> Program:
        url = f"{clients.base}/accounts/{clients.account_id}/ai/run/{model}"
        return clients.run(
            ["curl", "-s", "-X", "POST", url, "-H", f"Authorization: Bearer {clients.api_token}",
             *options, "-d", body if isinstance(body, str) else json.dumps(body)],
        )  # fmt: skip

    return ask


def question(**fields):
    return {"prompt": PROMPT, "max_tokens": MAX_TOKENS, "temperature": 0, **fields}


def text_of_stream(output):
    """Join a stream's text; it must come to its end."""
    events = Decoder().feed(output.encode())
    assert events[-1] == "[DONE]"
    return "".join(json.loads(event)["response"] for event in events[:-1])


def test_the_posts_own_command_streams_an_answer(curl):
    done = curl(f'{{ "prompt": "{PROMPT}", "stream": true }}', *JSON)

    assert done.status == 0
    assert "attention" in text_of_stream(done.output).lower()


@pytest.mark.parametrize("model", [MODEL, ESCAPED_MODEL], ids=["slashes", "escaped"])
@pytest.mark.parametrize("options", [JSON, []], ids=["json", "no content-type"])
def test_the_whole_and_the_streamed_answer_are_the_same(curl, answer, options, model):
    whole = curl(question(), *options, model=model)
    streamed = curl(question(stream=True), *options, model=model)

    assert json.loads(whole.output)["result"]["response"] == answer
    assert text_of_stream(streamed.output) == answer


def test_a_refusal_is_a_status_and_an_envelope(curl):
    done = curl(question(), "--write-out", "\n%{http_code}", model=UNKNOWN_MODEL)

    envelope, status = done.output.rsplit("\n", 1)
    assert status == "400"
    assert json.loads(envelope)["errors"][0]["code"] == 5007


def test_f_makes_curl_fail_with_a_refusal(curl):
    assert curl(question(), "--fail", model=UNKNOWN_MODEL).status == 22
