"""Bundle, run, look for changes, run again."""

import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sirocco.errors import SetupError, SiroccoError
from sirocco.worker.bundle import bundle
from sirocco.worker.config import write_config
from sirocco.worker.project import Project, read_project
from sirocco.worker.runtime import Runtime
from sirocco.worker.tools import Tools

_LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server that answers `env.AI`."""

    url: str
    api_token: str


class Dev:
    """A Worker that is being written.

    Args:
        path, environment: what to run, as `read_project` takes it.
        say, complain: told what a person should read, on stdout and on stderr.
    """

    def __init__(
        self, path: Path, tools: Tools, upstream: Upstream, listening: socket.socket, *,
        say: Callable[[str], None], complain: Callable[[str], None],
        environment: str | None = None,
    ) -> None:  # fmt: skip
        self._path, self._environment = path, environment
        self._tools, self._upstream = tools, upstream
        self._listening = listening
        self._say, self._complain = say, complain
        self._runtime: Runtime | None = None
        self._running: tuple[Project, bytes] | None = None
        self._watched: frozenset[Path] = frozenset({path})

    def run(self, *, watch: bool) -> None:
        """Serve until somebody interrupts; a fault in the script waits for its repair.

        Raises: SiroccoError if nothing can be served and nothing is watched.
        """
        # mkdtemp makes the folder for us alone: the API token stands in the configuration.
        with tempfile.TemporaryDirectory(prefix="sirocco-worker-") as work:
            try:
                self._try(Path(work), must=not watch)
                self._loop(Path(work), watch=watch)
            finally:
                self._stop()

    def _loop(self, work: Path, *, watch: bool) -> None:
        seen = _times(self._watched)
        while True:
            time.sleep(_LOOK_EVERY_S)
            if self._runtime is not None and self._runtime.has_ended:
                raise SetupError("the Workers runtime has ended by itself")
            if watch and (now := _times(self._watched)) != seen:
                self._try(work)
                # What was written while we worked is looked at again.
                seen = now if now.keys() == self._watched else _times(self._watched)

    def _try(self, work: Path, *, must: bool = False) -> None:
        """Bring the newest state to run; if that fails, leave what runs as it is."""
        began_s = time.monotonic()
        try:
            is_new = self._renew(work)
        except SiroccoError as error:
            if must:
                raise
            self._complain(f"{error}\nWaiting for a change ...")
            return
        if is_new:
            self._say(f"The script runs ({time.monotonic() - began_s:.1f} s to start it).")

    def _renew(self, work: Path) -> bool:
        project = read_project(self._path, self._environment)
        made = bundle(project.script, self._tools, work)
        files = {self._path, project.script, *made.inputs}
        self._watched = frozenset(files | project.sources)
        if made.code is None:
            raise SetupError(made.messages)
        if self._running == (project, made.code) and self._runtime is not None:
            return False
        if made.messages:
            self._complain(made.messages)
        if project.unused:
            self._complain(f"No effect here: {', '.join(project.unused)}.")
        if project.not_inherited:
            self._complain(
                f"Not inherited by env.{project.environment}, as with wrangler: "
                f"{', '.join(project.not_inherited)}."
            )
        self._stop()
        config = write_config(
            project, made.code, self._upstream.url, self._upstream.api_token, work
        )
        self._runtime = Runtime(self._tools.workerd, config, self._listening, self._complain)
        self._running = (project, made.code)
        return True

    def _stop(self) -> None:
        if self._runtime is not None:
            self._runtime.stop()
            self._runtime = None


def _times(files: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Note when each file was written, and its size."""
    times = {}
    for file in files:
        try:
            state = file.stat()
        except OSError:
            times[file] = (0, 0)
        else:
            times[file] = (state.st_mtime_ns, state.st_size)
    return times
