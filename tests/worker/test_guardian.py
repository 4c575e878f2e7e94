"""A child ends with its parent, however that ends; and is let alone when it is told so."""

import os
import signal
import subprocess
import sys

import pytest
from tests.served import wait_until

from sirocco.worker.guardian import Guardian

PARENT = """
import signal, subprocess, sys
from sirocco.worker.guardian import Guardian
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
child = subprocess.Popen(["sleep", "600"])
guardian = Guardian(child.pid)
print(child.pid, guardian._process.pid, flush=True)
sys.stdin.read()
"""


def is_gone(pid: int) -> bool:
    """Whether nothing of a process is left but its status, for which its new parent may not ask."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.strip()[:1] in ("", "Z", "X")


@pytest.fixture
def child():
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_ends_with_its_parent(number):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert not any(map(is_gone, pids))

        parent.send_signal(number)
        parent.wait(30)

    wait_until(lambda: all(map(is_gone, pids)))


def test_signals_of_the_terminal_do_not_reach_the_guardian(child):
    guardian = Guardian(child.pid)

    assert os.getsid(guardian._process.pid) != os.getsid(0)
    guardian.dismiss()


def test_a_gentler_signal_can_be_chosen(child):
    guardian = Guardian(child.pid, signal.SIGTERM)

    os.close(guardian._kept)

    assert child.wait(30) == -signal.SIGTERM
    guardian._process.wait(30)


def test_a_child_that_is_let_alone_lives_on(child):
    guardian = Guardian(child.pid)

    guardian.dismiss()
    guardian.dismiss()

    assert is_gone(guardian._process.pid)
    assert child.poll() is None
