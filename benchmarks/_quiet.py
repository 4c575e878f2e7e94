"""How much others use the processors, and waiting until they do not. The standard library only."""

import os
from pathlib import Path
from time import perf_counter, sleep

QUIET = 0.05
"""Share of all processors' time that others may use in a quiet moment."""


def busy_cpu_s() -> float:
    """Seconds that all processors have been busy, with whatever it was; 0 where unknown."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return 0.0  # not Linux
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(limit_s: float) -> None:
    """Wait until no one uses the processors, `limit_s` at most."""
    end = perf_counter() + limit_s
    is_quiet = False
    while not is_quiet and perf_counter() < end:
        busy = busy_cpu_s()
        sleep(0.25)
        is_quiet = busy_cpu_s() - busy < 0.25 * QUIET * (os.cpu_count() or 1)
