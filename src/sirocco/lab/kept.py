"""What of a study is done, kept in a folder, so that a study that was broken off goes on."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from sirocco.errors import ConfigError
from sirocco.lab.learning import OnStep

Result = dict[str, Any]
"""What JSON can hold, and gives back to the last bit."""


class Kept:
    """The finished parts of a study, each a file of its own.

    Args:
        folder: made if it is not there.
        settings: of the study, as JSON holds them.

    Raises: ConfigError if the folder has parts of a study with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "settings.json"
        if not file.exists():
            _write(file, settings)
        elif json.loads(file.read_text(encoding="utf-8")) != json.loads(json.dumps(settings)):
            raise ConfigError(
                f"{folder} has parts of a study with other settings; "
                f"delete it, or name another folder with --out"
            )

    def part(
        self, name: str, do: Callable[[], Result], *, n_steps: int = 0,
        on_step: OnStep = lambda: None,
    ) -> Result:  # fmt: skip
        """Give a part's result; do it if that was not done before.

        Args:
            n_steps, on_step: a part that is there already calls this as often as its steps.
        """
        file = self.folder / f"{name.lower()}.part.json"
        if file.exists():
            for _ in range(n_steps):
                on_step()
        else:
            started, cpu_started = perf_counter(), process_time()
            result = do()
            times = {"wall_s": perf_counter() - started, "cpu_s": process_time() - cpu_started}
            _write(file, {"result": result, **times})
        # Also what was just done is read, so that both ways give the same types.
        found: Result = json.loads(file.read_text(encoding="utf-8"))["result"]
        return found

    def seconds(self) -> tuple[float, float]:
        """All parts' seconds by the clock, and of processor time."""
        parts = [json.loads(f.read_text(encoding="utf-8")) for f in self.folder.glob("*.part.json")]
        return sum(part["wall_s"] for part in parts), sum(part["cpu_s"] for part in parts)


def _write(file: Path, what: Mapping[str, Any]) -> None:
    """Write a file that is whole or not there."""
    written = file.with_name(f"{file.name}.{os.getpid()}")
    written.write_text(json.dumps(what), encoding="utf-8")
    written.replace(file)
