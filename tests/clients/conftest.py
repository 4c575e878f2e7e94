"""A `sirocco serve`, and the ways to let other people's clients loose on it.

A client's script asks for the same things, and prints one JSON object: what its client returned.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.left_out import NODE_CLIENTS, PYTHON_CLIENTS, leave_out
from tests.served import Served

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MODEL = "@cf/mistral/mistral-7b-instruct-v0.1"
UNKNOWN_MODEL = "@cf/nobody/nothing"
PROMPT = "What is grouped query attention"
MAX_TOKENS = 24
OLDEST_NODE = 22  # the clients ask for it

Asked = dict[str, Any]
"""What a client's script printed."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that ran to its end."""

    status: int
    output: str
    errors: str


class Clients:
    """Runs clients with the credentials of a server, and a home that is nobody's."""

    def __init__(self, served: Served, home: Path) -> None:
        self.served = served
        self.base = f"{served.url}/client/v4"
        self.account_id = served.path.split("/accounts/")[1].split("/")[0]
        self.api_token = served.headers["Authorization"].removeprefix("Bearer ")
        self._home = home

    def run(self, command: Sequence[str | Path], **changed: str) -> Program:
        """Run a program; `changed` are variables of its environment."""
        done = subprocess.run(
            command, env={**self._environment(), **changed}, cwd=self._home,
            capture_output=True, encoding="utf-8", timeout=60, check=False,
        )  # fmt: skip
        return Program(done.returncode, done.stdout, done.stderr)

    def ask(self, command: Sequence[str | Path]) -> Asked:
        """Run a client's script, and read what it prints."""
        done = self.run(command)
        assert done.status == 0, done.output + done.errors
        printed: Asked = json.loads(done.output)
        return printed

    def _environment(self) -> Mapping[str, str]:
        """Nothing of the caller's but the way to programs: no proxy, no account, no option."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home),
            "CLOUDFLARE_API_BASE_URL": self.base,
            "CLOUDFLARE_ACCOUNT_ID": self.account_id,
            "CLOUDFLARE_API_TOKEN": self.api_token,
            "MODEL": MODEL,
            "UNKNOWN_MODEL": UNKNOWN_MODEL,
            "PROMPT": PROMPT,
            "MAX_TOKENS": str(MAX_TOKENS),
            # These would ask the internet: for prices, and to tell what was done.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "WRANGLER_SEND_METRICS": "false",
        }


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    folder = tmp_path_factory.mktemp("clients")
    served = Served(folder / "home", stand_in=True)
    try:
        assert served.run(max_tokens=1).status_code == 200
        (folder / "nobody").mkdir()
        yield Clients(served, folder / "nobody")
    finally:
        served.stop()


@pytest.fixture(scope="session")
def answer(clients: Clients) -> str:
    """What the server says to the question: greedy, so it is the same for every client."""
    asked = {"prompt": PROMPT, "max_tokens": MAX_TOKENS, "temperature": 0}
    text: str = clients.served.run(**asked).json()["result"]["response"]
    assert len(text) > MAX_TOKENS
    return text


@pytest.fixture(scope="session")
def node_bin() -> Path:
    """The folder of programs that npm installed."""
    if not (HERE / "node" / "node_modules" / ".made").exists():
        leave_out(NODE_CLIENTS)
    return HERE / "node" / "node_modules" / ".bin"


@pytest.fixture(scope="session")
def node(node_bin: Path) -> str:
    """The Node that npm installed, or the machine's where npm has none for it."""
    found = shutil.which("node", path=f"{node_bin}{os.pathsep}{os.environ['PATH']}")
    assert found is not None
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(told.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        leave_out(NODE_CLIENTS)
    return found


@pytest.fixture(scope="session")
def ask_from_node(clients: Clients, node: str) -> Callable[[str], Asked]:
    """Run one of our scripts in Node."""
    return lambda script: clients.ask([node, HERE / "node" / script])


@pytest.fixture(scope="session")
def ask_from_python(clients: Clients) -> Callable[[str], Asked]:
    """Run one of our scripts in the clients' own environment."""
    environment = ROOT / ".venv-clients"
    if not (environment / ".made").exists():
        leave_out(PYTHON_CLIENTS)
    return lambda script: clients.ask([environment / "bin" / "python", HERE / "python" / script])
