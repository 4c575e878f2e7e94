"""From one command to the announcement's answer, as its user sees it."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from sirocco.wire.sse import Decoder

SIROCCO = Path(sys.executable).parent / "sirocco"
MISTRAL = "@cf/mistral/mistral-7b-instruct-v0.1"


class Terminal:
    """A running `sirocco serve`, and what it printed until it was ready."""

    def __init__(self, home, *options):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SIROCCO_")}
        self.process = subprocess.Popen(
            [SIROCCO, "serve", "--port", "0", *options],
            env={**environment, "SIROCCO_HOME": str(home)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.text = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            if '"stream": true' in line:
                break

    @property
    def command(self) -> list[str]:
        """The curl line, as a shell would split it."""
        return shlex.split(self.text[self.text.index("curl ") :])

    def stop(self) -> str:
        """End it as a service manager would; give what it wrote into the log."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=30)
        return str(log)


@pytest.fixture
def start(tmp_path):
    started = []

    def start_one(*options):
        started.append(Terminal(tmp_path / "home", *options))
        return started[-1]

    yield start_one
    for terminal in started:
        if terminal.process.poll() is None:
            terminal.process.kill()
        terminal.process.communicate()


def send(command):
    """Do what the curl line says, without curl."""
    _, _, _, url, *options = command
    headers = dict(text.split(": ", 1) for flag, text in pairwise(options) if flag == "-H")
    return httpx.post(url, headers=headers, content=options[-1].encode(), timeout=60)


def test_the_printed_request_streams_an_answer_in_words(start):
    terminal = start("--stand-in")

    response = send(terminal.command)

    assert MISTRAL in terminal.command[3]
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["sirocco-stand-in"] == "@sirocco/breeze-instruct"
    *pieces, last, done = Decoder().feed(response.content)
    text = "".join(json.loads(piece)["response"] for piece in pieces)
    assert done == "[DONE]"
    assert json.loads(last)["usage"]["completion_tokens"] >= len(pieces)
    words = re.findall(r"[a-z]+", text.lower())
    assert len(words) > 3
    assert {"attention", "heads", "head", "key", "keys", "query"} & set(words), text


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_the_printed_line_can_be_pasted_into_a_shell(start):
    terminal = start("--stand-in")
    line = terminal.text[terminal.text.index("curl ") :]

    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=60, check=True)

    assert done.stdout.startswith(b'data: {"response":"')
    assert done.stdout.endswith(b"data: [DONE]\n\n")


def test_without_weights_and_stand_in_the_embedded_model_is_what_is_offered(start):
    terminal = start()

    assert "@sirocco/breeze-instruct" in terminal.command[3]
    assert send(terminal.command).status_code == 200


def test_the_api_token_is_shown_once_and_written_nowhere(start, tmp_path):
    first = start()
    (secret,) = re.findall(r"Bearer ([^\s\"]{40})", first.text)
    send(first.command)
    log = first.stop()

    second = start()

    assert secret not in second.text
    assert "sirocco tokens create" in second.text
    assert secret not in log
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert files
    assert not any(secret.encode() in path.read_bytes() for path in files)


def test_it_stops_in_good_order_and_keeps_the_usage(start, tmp_path):
    terminal = start()
    response = send(terminal.command)

    log = terminal.stop()

    (line,) = [json.loads(line) for line in log.splitlines() if "request finished" in line]
    assert line["request_id"] == response.headers["cf-ai-req-id"]
    assert "grouped query" not in log, "prompts stay out of logs"
    from sirocco.store.stores import open_stores

    home = tmp_path / "home"
    stores = open_stores(home, f"sqlite:///{home / 'sirocco.db'}")
    (row,) = stores.usage.of_account(stores.accounts.all()[0].id)
    stores.database.close()
    assert (row.request_id, row.output_tokens) == (line["request_id"], line["output_tokens"])
