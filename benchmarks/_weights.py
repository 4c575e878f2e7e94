"""Weights of a preset's shape for benchmarks, written once and kept."""

import sys
from pathlib import Path

from _child import Child

HERE = Path(__file__).parent


def checkpoint(cache: Path, preset: str, weights: str, *, n_threads: int) -> Path:
    """Write random weights, rounded, unless they are there. A 7B takes minutes.

    Returns: a folder that Sirocco serves.
    """
    folder = cache / f"{preset}-{weights}.sirocco"
    if folder.exists():
        return folder
    print(f"writing {folder}", file=sys.stderr)
    (cache / "logs").mkdir(parents=True, exist_ok=True)
    log = cache / "logs" / "sirocco.log"
    child = Child([sys.executable, HERE / "_ours.py"], log, n_threads=n_threads)
    child.ask("write_checkpoint", preset=preset, weights=weights, folder=str(folder))
    child.end()
    return folder
