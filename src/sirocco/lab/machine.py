"""Where figures come from: without machine and versions they mean nothing."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import torch

from sirocco.native import is_built, isas, n_threads

READ_BYTES = 2**28
"""Summed to see how fast this machine reads; no cache holds so much."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A computer and what runs on it.

    Attributes:
        n_threads: that compute.
        isa: instruction set of our kernels, or "torch" without them.
        read_bytes_per_s: the best of several sums over a large array.
    """

    cpu: str
    n_cpus: int
    n_threads: int
    isa: str
    read_bytes_per_s: float
    system: str
    python: str
    torch: str
    sirocco: str


def this_machine() -> Machine:
    """Describe this computer, and measure how fast it reads memory."""
    return Machine(
        cpu=_cpu_name(),
        n_cpus=os.cpu_count() or 1,
        n_threads=n_threads() if is_built() else torch.get_num_threads(),
        isa=isas()[0] if is_built() else "torch",
        read_bytes_per_s=_read_bytes_per_s(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        sirocco=version("sirocco"),
    )


def _read_bytes_per_s() -> float:
    numbers = torch.ones(READ_BYTES // 8, dtype=torch.int64)
    seconds = []
    for _ in range(4):
        started = perf_counter()
        numbers.sum()
        seconds.append(perf_counter() - started)
    return numbers.nbytes / min(seconds)


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
