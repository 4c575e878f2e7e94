"""A disk that is really full: a file system of a few megabytes in memory (scorecard row 25)."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.left_out import MOUNT, leave_out
from tests.served import Served, wait_until

_SIZE = 4 * 1024 * 1024
_BLOCK = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not sys.platform.startswith("linux") or shutil.which("mount") is None:
        leave_out(MOUNT)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)],
        check=False, capture_output=True,
    )  # fmt: skip
    if mounted.returncode != 0:
        leave_out(MOUNT)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Leave not a block."""
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * _BLOCK)
    assert shutil.disk_usage(ballast.parent).free == 0


def fetched(served: Served, path: str) -> int:
    base = served.path.partition("/client/v4/")[0]
    return httpx.get(f"{base}{path}", headers=served.headers, timeout=60).status_code


def ledger(home: Path) -> dict[str, int]:
    with sqlite3.connect(home / "sirocco.db") as connection:
        rows = dict(connection.execute("SELECT request_id, output_tokens FROM usage").fetchall())
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return rows


@pytest.mark.slow
def test_a_full_disk_stops_what_writes_and_is_forgotten_when_there_is_room(small_disk, tmp_path):
    home, ballast = small_disk / "home", small_disk / "ballast"
    served = Served(home, log_format="json")
    billed: dict[str, int] = {}

    def run() -> httpx.Response:
        answer = served.run(max_tokens=3)
        if answer.status_code == 200:
            tokens = answer.json()["result"]["usage"]["completion_tokens"]
            billed[answer.headers["cf-ai-req-id"]] = tokens
        return answer

    assert run().status_code == 200
    account = served.path.split("/")[6]
    with served.stream(max_tokens=400) as chunks:  # it began before, and ends whole
        text = next(chunks)
        fill(ballast)
        text += b"".join(chunks)
    wait_until(lambda: run().status_code == 503)
    refused = run()

    assert text.endswith(b"data: [DONE]\n\n")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (503, 3040)
    assert "retry-after" in refused.headers
    assert served.ready().status_code == 503
    assert fetched(served, "/health/live") == 200
    assert fetched(served, f"/client/v4/accounts/{account}/ai/models/search") == 200
    assert fetched(served, f"/client/v4/accounts/{account}/ai/usage") == 200

    ballast.unlink()
    wait_until(lambda: run().status_code == 200)
    wait_until(lambda: served.ready().status_code == 200)
    served.stop()

    rows = ledger(home)
    assert rows.items() >= billed.items()
    assert len(rows) == len(billed) + 1  # the stream
    assert list((home / "usage-spool").glob("*.jsonl")) == []
