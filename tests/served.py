"""A real `sirocco serve` with its engine in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

SIROCCO = Path(sys.executable).parent / "sirocco"
STORY = {"prompt": "Tell me a long story.", "max_tokens": 700, "seed": 5, "temperature": 1.5}


class Served:
    """A running server, its log, and a client of it.

    Attributes:
        home, log: its folder, and the file of its log.

    Args:
        before: the server that made this home; its credentials are used, since none are printed.
    """

    def __init__(self, home: Path, *, before: "Served | None" = None, **settings: object) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SIROCCO_")}
        named = {f"SIROCCO_{name.upper()}": str(value) for name, value in settings.items()}
        self.home, self.log = home, home.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [SIROCCO, "serve", "--port", "0", "--threads", "1"],
                env={**environment, **named, "SIROCCO_HOME": str(home)},
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line
            if "curl" in line:
                break
        found = re.search(r"(http://127\.0\.0\.1:\d+)(/client/\S+)", text)
        secret = re.search(r"API token +(\S{40})", text)
        assert found, self.log.read_text()
        self.headers: dict[str, str] = {} if before is None else before.headers
        if before is None:
            assert secret
            self.headers = {"Authorization": f"Bearer {secret[1]}"}
        self.url, self.path = found[1], found[1] + found[2]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines of the log with this event; every line must be JSON."""
        return [line for line in self._lines() if line["event"] == event]

    def lines(self, *levels: str) -> list[dict[str, Any]]:
        """Lines of the log with one of these levels."""
        return [line for line in self._lines() if line["level"] in levels]

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def engine_pid(self) -> int:
        """Of the engine that was started last."""
        pid: int = self.logged("engine starts")[-1]["pid"]
        return pid

    def run(self, **fields: object) -> httpx.Response:
        """Ask, and wait for the whole answer."""
        return httpx.post(self.path, json={**STORY, **fields}, headers=self.headers, timeout=60)

    @contextmanager
    def stream(self, **fields: object) -> Iterator[Iterator[bytes]]:
        """Ask for a stream; give its chunks."""
        body = {**STORY, "stream": True, **fields}
        with httpx.stream("POST", self.path, json=body, headers=self.headers, timeout=60) as answer:
            yield answer.iter_bytes()

    def ready(self) -> httpx.Response:
        """Ask whether it is ready."""
        return httpx.get(f"{self.url}/health/ready", timeout=10)

    def stop(self, signal_number: int = signal.SIGTERM) -> float:
        """End it; give the seconds that took."""
        began_s = time.monotonic()
        self.process.send_signal(signal_number)
        self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return time.monotonic() - began_s


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0) -> float:
    """Wait for something to come to pass; give the seconds it took."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < timeout_s, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - began_s


def is_dead(pid: int) -> bool:
    """No process of this id is there, or it only waits to be forgotten."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"
