"""`sirocco worker dev` as a person starts it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.api.conftest import MISTRAL
from tests.served import wait_until

from sirocco.worker.tools import _pins_digest

SIROCCO = Path(sys.executable).parent / "sirocco"
SCRIPT = """
export default {
    async fetch(request, env) {
        const answer = await env.AI.run("%s", { prompt: "the cat", max_tokens: 7, temperature: 0 });
        return new Response("first " + answer.usage.completion_tokens);
    }
}
"""  # fmt: skip


class Dev:
    """The command, and all that it printed so far."""

    def __init__(self, folder, home, *args, **environment):
        self.log = folder / "dev.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SIROCCO_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [SIROCCO, "worker", "dev", *map(str, args), "--port", "0"],
                env={**kept, "SIROCCO_HOME": str(home), **environment},
                stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip

    @property
    def text(self):
        return self.log.read_text()

    @property
    def url(self):
        wait_until(lambda: "The script runs" in self.text or self.process.poll() is not None)
        found = re.search(r"^(http://127\.0\.0\.1:\d+) runs ", self.text, re.MULTILINE)
        assert found, self.text
        return found[1]

    def children(self):
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return [int(pid) for pid in listed.stdout.split()]

    def stop(self, number=signal.SIGINT):
        began_s = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(30), time.monotonic() - began_s


@pytest.fixture
def home(tools, tmp_path):
    """A home in which the tools are installed already."""
    folder = tmp_path / "home" / "worker-tools" / _pins_digest()
    folder.mkdir(parents=True)
    (folder / "node_modules").symlink_to(tools.packages)
    return tmp_path / "home"


@pytest.fixture
def script(tmp_path):
    file = tmp_path / "script.js"
    file.write_text(SCRIPT % MISTRAL)
    return file


@contextlib.contextmanager
def running(*args, **environment):
    dev = Dev(*args, **environment)
    try:
        yield dev
    finally:
        if dev.process.poll() is None:
            dev.stop()


def upstream(asked):
    running = asked.running
    return ["--server", running.url, "--account", running.account_id, "--token", running.secret]


def is_gone(pid):
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_line_for_each_request_and_nothing_left_after_ctrl_c(asked, home, script, tmp_path):
    with running(tmp_path, home, script, *upstream(asked)) as dev:
        assert httpx.get(f"{dev.url}/a/path?q=1", timeout=60).text == "first 7"
        line = r"^GET /a/path 200, \d+\.\d\d s, \d+ \+ 7 tokens$"
        wait_until(lambda: re.search(line, dev.text, re.MULTILINE))
        children = dev.children()
        assert children
        status, took_s = dev.stop()

    assert status == 0
    assert took_s < 5
    assert all(is_gone(pid) for pid in children)
    assert asked.running.secret not in dev.text


def test_a_changed_script_runs_and_a_faulty_one_leaves_the_last_that_ran(
    asked, home, script, tmp_path
):
    with running(tmp_path, home, script, *upstream(asked)) as dev:
        url = dev.url
        script.write_text((SCRIPT % MISTRAL).replace("first", "second"))
        wait_until(lambda: dev.text.count("The script runs") == 2)
        assert httpx.get(url, timeout=60).text == "second 7"

        script.write_text("export default {")
        wait_until(lambda: "Waiting for a change" in dev.text)
        assert 'Expected "}"' in dev.text or "end of file" in dev.text
        assert httpx.get(url, timeout=60).text == "second 7"

        script.write_text("export default { fetch() { throw new Error('oops') } }")
        wait_until(lambda: dev.text.count("The script runs") == 3)
        assert httpx.get(url, timeout=60).status_code == 500
        wait_until(lambda: re.search(r"Error: oops\n    at .*worker\.js", dev.text))


def test_a_file_that_the_script_imports_is_watched_too(asked, home, tmp_path):
    (tmp_path / "script.js").write_text(
        'import text from "./text.txt"; export default { fetch: () => new Response(text) }'
    )
    (tmp_path / "text.txt").write_text("one")

    with running(tmp_path, home, "script.js", *upstream(asked)) as dev:
        assert httpx.get(dev.url, timeout=60).text == "one"
        (tmp_path / "text.txt").write_text("other")
        wait_until(lambda: dev.text.count("The script runs") == 2)
        assert httpx.get(dev.url, timeout=60).text == "other"


def test_a_project_of_wrangler_runs_and_its_variables_may_change(asked, home, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "index.ts").write_text(
        "export default { async fetch(_: Request, env: any): Promise<Response> {"
        ' const inputs = { prompt: "x", max_tokens: 3, temperature: 0 };'
        " const answer = await env.MIND.run(env.MODEL, inputs);"
        " return Response.json([env.WORD, answer.usage.completion_tokens]); } }"
    )
    config = tmp_path / "wrangler.toml"
    text = f'main = "src/index.ts"\nai = {{ binding = "MIND" }}\nd1_databases = []\n' \
           f'vars = {{ WORD = "one", MODEL = "{MISTRAL}" }}\n'  # fmt: skip
    config.write_text(text)

    with running(tmp_path, home, ".", *upstream(asked)) as dev:
        assert httpx.get(dev.url, timeout=60).json() == ["one", 3]
        assert "No effect here: d1_databases." in dev.text
        config.write_text(text.replace("one", "other"))
        wait_until(lambda: dev.text.count("The script runs") == 2)
        assert httpx.get(dev.url, timeout=60).json() == ["other", 3]


def test_an_environment_has_variables_of_its_own(asked, home, tmp_path):
    (tmp_path / "index.js").write_text(
        "export default { fetch: (_, env) => new Response(env.WORD + typeof env.AI) }"
    )
    (tmp_path / "wrangler.toml").write_text(
        'name = "hello"\nmain = "index.js"\nai = { binding = "AI" }\nvars = { WORD = "top " }\n'
        '[env.staging]\nvars = { WORD = "staging " }\n'
    )

    with running(tmp_path, home, ".", "--env", "staging", *upstream(asked)) as dev:
        assert httpx.get(dev.url, timeout=60).text == "staging undefined"

    assert " runs hello-staging; " in dev.text
    assert "Not inherited by env.staging, as with wrangler: ai." in dev.text


def test_a_kill_of_the_command_takes_the_runtime_along(asked, home, script, tmp_path):
    with running(tmp_path, home, script, *upstream(asked)) as dev:
        assert dev.url
        children = dev.children()
        assert len(children) == 2  # the runtime and its guardian
        dev.stop(signal.SIGKILL)

    wait_until(lambda: all(is_gone(pid) for pid in children))


def test_without_watching_a_faulty_script_ends_the_command(asked, home, script, tmp_path):
    script.write_text('import "@nobody/has-this"')

    with running(tmp_path, home, script, "--no-watch", *upstream(asked)) as dev:
        assert dev.process.wait(60) == 1

    assert 'Could not resolve "@nobody/has-this"' in dev.text
    assert "npm install @nobody/has-this, in the script's folder, may help" in dev.text


def test_a_script_that_the_runtime_refuses_is_told_in_its_words(asked, home, script, tmp_path):
    script.write_text("const answer = 1; throw new TypeError('at the start')")

    with running(tmp_path, home, script, "--no-watch", *upstream(asked)) as dev:
        assert dev.process.wait(60) == 1

    assert "sirocco: the Workers runtime did not start: " in dev.text
    assert "at the start" in dev.text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: ["--server", a.running.url], "--server needs --token"),
        (lambda _: ["--token", "x"], "--account and --token are of a server"),
        (
            lambda a: ["--server", a.running.url, "--token", "a" * 40],
            "not take this API token",
        ),
        (lambda a: [*upstream(a), "--account", "0" * 32], f"of account {'0' * 32} (status 401)"),
        (lambda _: ["--server", "http://127.0.0.1:9", "--token", "x"], "does not answer"),
        (lambda _: ["--server", "127.0.0.1", "--token", "x"], "does not answer"),
    ],
)
def test_a_server_that_does_not_serve_us_is_told_at_once(  # noqa: PLR0917
    asked, home, script, tmp_path, change, sentence
):  # fmt: skip
    with running(tmp_path, home, script, *change(asked)) as dev:
        assert dev.process.wait(60) == 1

    assert dev.text.startswith("sirocco: ")
    assert dev.text.count("\n") == 1
    assert sentence in dev.text


@pytest.mark.slow
def test_without_a_server_one_is_started_and_ends_with_it(home, script, tmp_path):
    with running(tmp_path, home, script, SIROCCO_PORT="9", SIROCCO_THREADS="1") as dev:
        response = httpx.get(dev.url, timeout=60)
        assert re.fullmatch(r"first \d", response.text), dev.text
        assert "No server runs here: starting one" in dev.text
        children = dev.children()
        assert len(children) == 4  # the runtime, the server, and a guardian for each
        status, _ = dev.stop(signal.SIGTERM)

    assert status == 128 + signal.SIGTERM
    wait_until(lambda: all(is_gone(pid) for pid in children))
    listed = subprocess.run(
        [SIROCCO, "tokens", "list", "--json"], capture_output=True, text=True, check=True,
        env={**os.environ, "SIROCCO_HOME": str(home)},
    )  # fmt: skip
    assert listed.stdout.count('"revoked_at": "') == listed.stdout.count('"id"') == 1
