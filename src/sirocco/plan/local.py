"""This machine as hardware: measured once in a child, kept in a file, read without torch."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from sirocco.errors import BackendUnavailable
from sirocco.plan.hardware import LOCAL, Hardware, Steps

FILE_NAME = "machine.json"
"""In SIROCCO_HOME."""

_PATIENCE_S = 120.0


def measure_local(home: Path) -> Hardware:
    """Measure this machine, about 20 seconds of both cores, and keep the figures in `home`.

    Raises: BackendUnavailable with the last line of what went wrong.
    """
    command = [sys.executable, "-P", "-m", "sirocco.plan.measuring"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BackendUnavailable(
            f"this machine was not measured within {_PATIENCE_S:.0f} s; it is busy"
        ) from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BackendUnavailable(f"this machine could not be measured: {reason}")
    home.mkdir(parents=True, exist_ok=True)
    written = home / f"{FILE_NAME}.{os.getpid()}"
    written.write_text(done.stdout, encoding="utf-8")
    written.replace(home / FILE_NAME)
    return _hardware(json.loads(done.stdout))


def read_local(home: Path) -> Hardware | None:
    """Give what was measured before; None if nothing was, or if the file is not ours."""
    try:
        return _hardware(json.loads((home / FILE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _hardware(measured: dict[str, Any]) -> Hardware:
    isa, threads = measured["isa"], measured["threads"]
    return Hardware(
        id=LOCAL,
        name=f"this machine: {platform.machine()}, {isa}, {threads} threads, measured",
        memory_bytes=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        read_bytes_per_s=float(measured["read_bytes_per_s"]),
        operations_per_s={k: float(v) for k, v in measured["operations_per_s"].items()},
        attention_operations_per_s=float(measured["attention_operations_per_s"]),
        steps=_steps(measured["steps"]),
    )


def _steps(measured: dict[str, Any]) -> Steps:
    return Steps(
        weight_s={
            name: tuple((int(n_rows), float(seconds)) for n_rows, seconds in points)
            for name, points in measured["weight_s"].items()
        },
        step_s=float(measured["step_s"]),
        layer_s=float(measured["layer_s"]),
        sequence_s=float(measured["sequence_s"]),
    )
