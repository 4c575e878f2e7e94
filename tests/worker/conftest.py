"""The real Workers runtime before our real server, with a tiny model under Mistral's id."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import MISTRAL, RunningServer, checkpoint, serve
from tests.left_out import WORKERS_RUNTIME, leave_out
from tests.served import wait_until

from sirocco.worker.bundle import bundle
from sirocco.worker.config import write_config
from sirocco.worker.project import Project
from sirocco.worker.runtime import Runtime
from sirocco.worker.tools import Tools, find_tools

__all__ = ["checkpoint", "serve"]

NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def tools() -> Tools:
    """The runtime and the bundler that npm has installed for the tests."""
    found = find_tools(NODE / "node_modules")
    if found is None:
        leave_out(WORKERS_RUNTIME)
    return found


@dataclass(frozen=True, slots=True)
class AskedServer:
    """A server that answers for Mistral's id, and a look into its engine."""

    running: RunningServer

    @property
    def engine(self) -> Any:
        """The engine of the tiny model; it is started by a first request."""
        (thread,) = self.running.threads.values()
        return thread.engine

    @property
    def is_idle(self) -> bool:
        """Nothing runs or waits, and every block is free."""
        scheduler = self.engine.scheduler
        is_free = scheduler.blocks.n_free == scheduler.blocks.n_blocks
        return not scheduler.running and not scheduler.waiting and is_free

    def n_output_tokens(self) -> dict[str, int]:
        """Of all requests so far, by their ids."""
        rows = self.running.stores.usage.of_account(self.running.account_id)
        return {row.request_id: row.output_tokens for row in rows}


@pytest.fixture(scope="module")
def asked(
    tools: Tools, serve: Callable[..., Any], checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AskedServer]:  # fmt: skip
    """Start the server, and its engine."""
    home = tmp_path_factory.mktemp("home")
    (home / "catalog.toml").write_text(
        f'[[model]]\nid = "{MISTRAL}"\ntemplate = "llama2"\nfolder = "{checkpoint}"\n'
    )
    with serve(home, prefix_cache=False, n_guesses=0) as running:
        answer = running.run({"prompt": "x", "max_tokens": 1}, model_id=MISTRAL)
        assert answer.status_code == 200, answer.text
        server = AskedServer(running)
        wait_until(server.n_output_tokens)  # a thread writes it
        yield server


@pytest.fixture
def slow_steps(asked: AskedServer) -> Iterator[None]:
    """Let each step take 10 ms more, so that an answer is under way for a while."""
    engine = asked.engine
    step = engine.step

    def wait_and_step() -> Any:
        if engine.has_work:
            time.sleep(0.01)
        return step()

    engine.step = wait_and_step
    yield
    engine.step = step


@pytest.fixture
def run_script(asked: AskedServer, tools: Tools, tmp_path: Path) -> Callable[..., Any]:
    """Run a script in the runtime for as long as a `with` lasts; gives its address."""

    @contextlib.contextmanager
    def run(code: str, **project: Any) -> Iterator[str]:
        script = tmp_path / "script.js"
        script.write_text(code)
        made = bundle(script, tools, tmp_path)
        assert made.code is not None, made.messages
        described = replace(Project(script), **project)
        config = write_config(
            described, made.code, asked.running.url, asked.running.secret, tmp_path
        )
        said: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as listening:
            runtime = Runtime(tools.workerd, config, listening, said.append)
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                runtime.stop()

    return run
