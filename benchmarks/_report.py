"""What every benchmark says about where it ran, and how it says it."""

import argparse
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch

import sirocco

RESULTS = Path(__file__).parent / "results"


def circumstances() -> dict[str, object]:
    """Commit, machine, versions: without them a number means nothing."""
    return {
        "commit": _commit(),
        "cpu": _cpu_name(),
        "n_cpus": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "sirocco": sirocco.__version__,
    }


def seconds_of(work: Callable[[], object], n_runs: int) -> list[float]:
    """Wall time of each of `n_runs` runs, after one to warm up."""
    work()
    times = []
    for _ in range(n_runs):
        started = perf_counter()
        work()
        times.append(perf_counter() - started)
    return times


def median_and_p95(values: list[float]) -> tuple[float, float]:
    """Return the middle, and what all but one in twenty stay below."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def arguments(question: str) -> argparse.ArgumentParser:
    """Make a parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each row")
    parser.add_argument("--save", action="store_true", help="keep the line in benchmarks/results/")
    return parser


def finish(name: str, rows: list[dict[str, object]], *, save: bool) -> None:
    """Print one JSON line, and keep it if asked."""
    line = json.dumps({"benchmark": name, **circumstances(), "rows": rows})
    print(line)
    if save:
        (RESULTS / f"{name}.json").write_text(line + "\n", encoding="utf-8")


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
