"""Right and wrong requests of every route, raw bytes, and clients that leave (scorecard row 10)."""

import asyncio
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from tests.fuzz.making import Maker
from tests.fuzz.sending import send_all
from tests.served import Served, wait_until

MODEL = "@sirocco/breeze-instruct"
SEED = 20_261_127
N_PIECES, PIECE = 40, 2_500
"""A night's requests; each piece can be had alone, by its name."""
SOME = 2_000


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "piece" in metafunc.fixturenames:
        n_pieces = N_PIECES if metafunc.config.getoption("--nightly") else 1
        metafunc.parametrize("piece", range(n_pieces), ids=lambda piece: f"piece{piece}")


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    server = Served(
        tmp_path_factory.mktemp("served") / "home", max_seq_len=64, max_running=4, max_waiting=16
    )
    assert server.run(max_tokens=1).status_code == 200
    yield server
    server.process.kill()
    server.stop()


@pytest.mark.timeout(1200)
def test_no_request_breaks_anything(served, piece, is_nightly):
    engine_pid = served.engine_pid
    account_id = served.path.split("/")[6]
    maker = Maker(SEED, account_id, served.headers["Authorization"][7:], MODEL)
    first, count = piece * PIECE, PIECE if is_nightly else SOME
    began_s = time.monotonic()

    statuses, faults = asyncio.run(
        send_all(int(served.url.rpartition(":")[2]), maker, range(first, first + count))
    )

    seconds = time.monotonic() - began_s
    sys.stderr.write(f"{first} + {count}: {dict(sorted(statuses.items()))} in {seconds:.0f} s\n")
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults[:20])
    assert {200, 400} <= statuses.keys()
    assert served.process.poll() is None
    assert served.engine_pid == engine_pid
    assert served.lines("error", "critical") == []
    wait_until(lambda: holds_its_own_blocks_alone(served))
    assert served.run(max_tokens=1, options={"rejectIfBusy": True}).status_code == 200


def holds_its_own_blocks_alone(served: Served) -> bool:
    """Start an answer, and see whether any block of the KV cache is held for another."""
    body = {"prompt": "x", "max_tokens": 60, "stream": True, "temperature": 5}
    with httpx.Client(headers=served.headers, timeout=60) as client:
        client.get(f"{served.url}/health/live")
        with client.stream("POST", served.path, json=body) as answer:
            base = served.path.partition("/run/")[0]
            seen = client.get(f"{base}/inspect/requests/{answer.headers['cf-ai-req-id']}")
    if seen.status_code != 200:  # it had ended before we looked
        return False
    result = seen.json()["result"]
    (own,) = result["answers"]
    return bool(result["pool"]["held"] == len(own["blocks"]) > 0)
