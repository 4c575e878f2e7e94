"""Code that the page shows does what the page did: it is run, and must give the same answer."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from tests.left_out import CURL, NODE_CLIENTS, leave_out

from sirocco.wire.sse import Decoder

QUESTION = """It's "quoted", \\back\\slashed, $HOME `x` ${y}, ‘ünïcode’ 🌬 and
two lines"""


def shown_code(window, label, *, with_secret=False) -> str:
    """The code of the last answer, as it stands on the page."""
    page = window.page
    page.get_by_label("This request as code").last.click()
    page.get_by_role("tab", name=label).click()
    if with_secret:
        page.get_by_label("With my API token").check()
    code: str = page.get_by_role("tabpanel").locator("code").inner_text()
    page.get_by_label("Close").click()
    return code


def run(command, server, tmp_path) -> bytes:
    """What a program writes, with the API token in its environment."""
    environment = {**os.environ, "SIROCCO_API_TOKEN": server.secret}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def text_of(events: bytes) -> str:
    *pieces, done = Decoder().feed(events)
    assert done == "[DONE]"
    return "".join(json.loads(piece)["response"] for piece in pieces)


@pytest.fixture
def asked(window):
    """A window with an answer, and the text of it as the page keeps it."""
    page = window.open()
    page.get_by_label("System prompt").fill("Be \"brief\" & 'kind'.")
    for label, value in (("Seed", "7"), ("Max tokens", "12"), ("Temperature", "0.8")):
        page.get_by_role("spinbutton", name=label).fill(value)
        page.get_by_role("spinbutton", name=label).blur()
    window.send(QUESTION)
    window.wait_for_answers()
    with page.expect_download() as download:
        page.get_by_label("Export ").click()
    _, answer = json.loads(download.value.path().read_text())["turns"]
    return window, answer["text"]


@pytest.mark.parametrize("with_secret", [False, True])
def test_curl_gets_the_same_answer(asked, server, tmp_path, with_secret):
    if shutil.which("curl") is None:
        leave_out(CURL)
    window, text = asked
    code = shown_code(window, "curl", with_secret=with_secret)

    assert (server.secret in code) == with_secret
    assert text_of(run(["sh", "-c", code], server, tmp_path)) == text


def test_python_gets_the_same_answer(asked, server, tmp_path):
    window, text = asked
    code = shown_code(window, "Python")

    assert server.secret not in code
    assert run([sys.executable, "-c", code], server, tmp_path).decode() == text


def test_javascript_gets_the_same_answer(asked, server, tmp_path):
    if shutil.which("node") is None:
        leave_out(NODE_CLIENTS)
    window, text = asked
    (tmp_path / "ask.mjs").write_text(shown_code(window, "JavaScript"))

    assert text_of(run(["node", "ask.mjs"], server, tmp_path)) == text


def test_the_worker_script_asks_for_the_same(asked, server, tmp_path):
    if shutil.which("node") is None:
        leave_out(NODE_CLIENTS)
    window, _ = asked
    (tmp_path / "script.mjs").write_text(shown_code(window, "Worker"))
    (tmp_path / "run.mjs").write_text("""
        import script from "./script.mjs";
        const env = { AI: { run: async (...asked) => console.log(JSON.stringify(asked)) } };
        await script.fetch(new Request("http://127.0.0.1/"), env);
    """)

    model, inputs = json.loads(run(["node", "run.mjs"], server, tmp_path))

    (sent,) = [one for one in window.asked if "/ai/run/" in one.url]
    assert sent.url.endswith(f"/ai/run/{model}")
    assert inputs == json.loads(sent.post_data)
