"""Engines in processes of their own, asked in lines of JSON. The standard library only.

The benchmark starts a `Child` and asks; the script in it calls `answer` with its functions. So
two engines never share a process, an allocator, a thread pool or an environment.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO


class ChildFailed(RuntimeError):
    """An engine's process ended before it answered."""


class Child:
    """One engine, as its benchmark sees it; its stderr goes to `log`."""

    def __init__(self, command: list[str | Path], log: Path, *, n_threads: int) -> None:
        self.started = time.perf_counter()
        self.log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(n_threads)},
            )  # fmt: skip

    def ask(self, what: str, **arguments: object) -> dict[str, Any]:
        """Wait for one answer. Raises: ChildFailed with the end of the log."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            print(json.dumps([what, arguments]), file=stdin, flush=True)
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
            raise ChildFailed(f"{what} was not answered; the end of {self.log}:\n{end}")
        return dict(json.loads(line))

    def end(self) -> None:
        """Let the process end by itself; kill it if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def answer(functions: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """In the child: call what is asked for until the benchmark closes the line."""
    out = _only_for_answers()
    functions = {**functions, "peak_bytes": peak_bytes, "forget_peak": forget_peak}
    for line in sys.stdin:
        what, arguments = json.loads(line)
        print(json.dumps(functions[what](**arguments)), file=out, flush=True)


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of the wall, and of all processors in this process."""
    cpu_started, started = time.process_time(), time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "cpu_s": time.process_time() - cpu_started}


def peak_bytes() -> dict[str, Any]:
    """Most memory that was resident at once, mapped files included."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return {"bytes": 1024 * int(line.split()[1])}
    except OSError:
        pass  # not Linux
    unit = 1 if sys.platform == "darwin" else 1024
    return {"bytes": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def forget_peak() -> dict[str, Any]:
    """Count the peak from now on; `done` is False where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return {"done": False}
    return {"done": True}


def _only_for_answers() -> TextIO:
    """Keep stdout for the answers; whatever else is printed goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out
