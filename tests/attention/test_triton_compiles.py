"""The kernels for GPUs, compiled for each of three generations without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.left_out import TRITON, leave_out

from sirocco.attention.choice import has_triton

ROOT = Path(__file__).parents[2]
CASES = ["mistral-7b", "mistral-7b, fp8 cache", "as MHA", "as MQA"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute at most on a machine of its own; less when it was done before
@pytest.mark.parametrize("capability", [80, 90, 100])
def test_no_register_spills(capability: int, capsys: pytest.CaptureFixture[str]) -> None:
    """For Mistral 7B's heads and window, and the same network as MHA and MQA."""
    if not has_triton():
        leave_out(TRITON)
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}

    done = subprocess.run(
        [sys.executable, "benchmarks/gpu_kernels.py", "--capabilities", str(capability),
         "--cases", *CASES],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    with capsys.disabled():  # registers are worth a look in every run
        sys.stdout.write("\n" + done.stdout.rpartition("\n{")[0] + "\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("attend, any") >= 3
