"""One network on two ranks, which are processes that talk over gloo on this machine."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("two_ranks.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(900)  # for machines that are busy: three times torch is imported
def test_two_ranks_write_what_one_writes():
    """Greedy tokens of a prefill in chunks and of decode, in float32."""
    port = str(free_port())
    ranks = [
        subprocess.Popen([sys.executable, SCRIPT, str(rank), port], stdout=subprocess.PIPE)
        for rank in (0, 1)
    ]
    try:
        first, second = (json.loads(rank.communicate(timeout=800)[0]) for rank in ranks)
    finally:
        for rank in ranks:
            rank.kill()

    assert [rank.returncode for rank in ranks] == [0, 0]
    assert first["together"] == first["alone"]
    assert first["n_heads"] == second["n_heads"] == 2
    assert first["cache_bytes"] == second["cache_bytes"]
    assert "cannot be shared out among 2 devices" in first["refused"]
