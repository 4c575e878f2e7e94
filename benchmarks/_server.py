"""Servers in processes of their own, what they take of the processors, and how they end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

SIROCCO = (sys.executable, "-c", "from sirocco.cli.main import run; run()")
START_LIMIT_S, STOP_LIMIT_S = 180.0, 20.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Seconds of processor time; 0 where the system has no /proc.

    Attributes:
        loop_s: the main thread of the server's main process: the event loop.
        api_s: that process whole. While the engine is a thread of it, the engine is in here.
        engine_s: its children, and theirs.
    """

    loop_s: float
    api_s: float
    engine_s: float

    def __sub__(self, other: "CpuTimes") -> "CpuTimes":
        return CpuTimes(
            self.loop_s - other.loop_s, self.api_s - other.api_s, self.engine_s - other.engine_s
        )

    @property
    def total_s(self) -> float:
        """All of the server."""
        return self.api_s + self.engine_s


class Server:
    """A process that listens on 127.0.0.1."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.pid = process.pid
        self.url = url
        self.log = log
        self.host, port = url.removeprefix("http://").split(":")
        self.port = int(port)

    @property
    def cpu(self) -> CpuTimes:
        """What it has taken so far."""
        main = Path(f"/proc/{self.pid}")
        return CpuTimes(
            _cpu_s(main / "task" / str(self.pid)), _cpu_s(main),
            sum(_cpu_s(Path(f"/proc/{pid}")) for pid in descendants(self.pid)),
        )  # fmt: skip

    def target(self, path: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Address a route of it."""
        return {"host": self.host, "port": self.port, "path": path, "headers": headers or {}}


@contextmanager
def running(
    command: Sequence[str], log: Path, *, health: str, environment: dict[str, str],
    url: str | None = None,
) -> Iterator[Server]:  # fmt: skip
    """Start a server, wait until it answers, and stop it in any case.

    Args:
        health: a path that answers 200 as soon as anything does.
        url: where it will answer; None if its first lines on stdout say so.
        environment: all of it; none is inherited.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        limit_s = time.monotonic() + START_LIMIT_S
        while (found := url or _greeted_url(log)) is None or not _is_there(found + health):
            if process.poll() is not None or time.monotonic() > limit_s:
                raise SystemExit(f"a server did not start; the end of {log}:\n{_end_of(log)}")
            time.sleep(0.05)
        yield Server(process, found, log)
    finally:
        _stop(process)


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks: an account and one of its API tokens."""

    account_id: str
    api_token: str

    def target(self, server: Server, model_id: str) -> dict[str, Any]:
        """Address a model as this account."""
        path = f"/client/v4/accounts/{self.account_id}/ai/run/{model_id}"
        return server.target(path, {"authorization": f"Bearer {self.api_token}"})


@dataclass(frozen=True, slots=True)
class Home:
    """A SIROCCO_HOME of the benchmark's own, in which servers run one after another."""

    folder: Path

    @property
    def database(self) -> Path:
        """Where usage is kept."""
        return self.folder / "sirocco.db"

    def new_account(self, name: str) -> Account:
        """Make an account and an API token with the commands that people use."""
        account_id = self._command("accounts", "create", "--name", name)["account_id"]
        made = self._command("tokens", "create", "--account", account_id)
        return Account(account_id, made["token"])

    @contextmanager
    def serving(self, *options: str, **settings: object) -> Iterator[Server]:
        """Serve with these settings; the log is `server.log` in the folder."""
        command = [*SIROCCO, "serve", "--port", "0", *options]
        environment = self._environment({"shutdown_s": 2, **settings})
        log = self.folder / "server.log"
        with running(command, log, health="/health/live", environment=environment) as server:
            yield server

    def _command(self, *words: str) -> dict[str, str]:
        done = subprocess.run(
            [*SIROCCO, *words, "--json"], env=self._environment({}), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"sirocco {' '.join(words)}: {done.stderr.strip()}")
        return dict(json.loads(done.stdout))

    def _environment(self, settings: dict[str, object]) -> dict[str, str]:
        """Make one in which nobody else's settings are."""
        ours = {n: v for n, v in os.environ.items() if not n.startswith("SIROCCO_")}
        named = {f"SIROCCO_{name.upper()}": str(value) for name, value in settings.items()}
        return {**ours, "SIROCCO_HOME": str(self.folder), **named}


def descendants(pid: int) -> list[int]:
    """Children of a process, and theirs."""
    parents = dict(_parents())
    found = [pid]
    for known in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(folder)
        if fields:
            yield int(folder.name), int(fields[1])


def _cpu_s(folder: Path) -> float:
    """Seconds of a process or a thread, in user and in system mode."""
    fields = _stat(folder)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S if fields else 0.0


def _stat(folder: Path) -> list[str]:
    """Fields of /proc/…/stat from the third on; before it stands the name, which may hold all."""
    try:
        return (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []  # it has ended, or this is not Linux


def _greeted_url(log: Path) -> str | None:
    found = re.search(r"listening on (http://\S+)", log.read_text(errors="replace"))
    return found[1] if found else None


def _is_there(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):  # noqa: S310 - http, and ours
            return True
    except (URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; kill it and its children if it does not."""
    children = descendants(process.pid)
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        for pid in children:
            if _stat(Path(f"/proc/{pid}")):
                os.kill(pid, signal.SIGKILL)


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:])
