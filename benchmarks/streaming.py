"""How much processor time does a streamed token cost the process that speaks HTTP?

A real server answers many streams at once. Its engine is a process that computes nothing
(`_token_mill.py`), and the clients are in this process, so the server's time is all that is
counted: of the main thread, where its event loop runs, and of the whole process, divided by the
output tokens. Requests are in it, too: one for each 250 tokens. Needs Linux's /proc.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from _report import arguments, finish, median_and_p95
from _token_mill import MAX_LIVE, MillProcess

N_STREAMS = (1, 16, 64, 256)
BODY = {"prompt": "Tell me a long story about the sea.", "stream": True, "max_tokens": 250}
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, and what a request to it needs."""

    pid: int
    port: int
    path: str
    secret: str

    @property
    def loop_s(self) -> float:
        """Processor seconds of the main thread so far."""
        stat = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text(encoding="ascii")
        return int(stat.split()[0]) / 1e9

    @property
    def process_s(self) -> float:
        """Processor seconds of all threads so far; coarser than `loop_s`."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
        return sum(map(int, stat.split()[11:13])) / _TICKS_PER_S


def main() -> None:
    """Ask the question for a few numbers of streams."""
    options = arguments(str(__doc__)).parse_args()
    with tempfile.TemporaryDirectory() as home, serving(home, MAX_LIVE) as server:
        asyncio.run(_streams(server, 2))  # starts the engine
        rows = [_measured(server, n_streams, options.runs) for n_streams in N_STREAMS]
    finish("streaming", rows, save=options.save)


@contextmanager
def serving(home: str, n_places: int) -> Iterator[Server]:
    """Run a server in a process of its own, with a mill of so many places for each model."""
    process = subprocess.Popen(
        [sys.executable, __file__, "serve", home, str(n_places)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield _greeted(process)
    finally:
        process.terminate()
        process.wait(30)


def serve(home: str, n_places: int) -> None:
    """Be the server."""
    from sirocco.app import create_app  # noqa: PLC0415 - the other role has no use for them
    from sirocco.cli.greeting import greeting, owner_of  # noqa: PLC0415
    from sirocco.cli.serve import _listen  # noqa: PLC0415
    from sirocco.cli.server import run_server  # noqa: PLC0415
    from sirocco.logs import configure_logs  # noqa: PLC0415
    from sirocco.settings import load_settings  # noqa: PLC0415
    from sirocco.store.stores import open_stores  # noqa: PLC0415

    settings = load_settings(home=home, max_waiting=512)
    configure_logs("error", "text")
    stores = open_stores(settings.home, settings.resolved_database_url)
    app = create_app(settings, stores, lambda _entry: MillProcess(n_places))
    owner = owner_of(stores)
    run_server(app, _listen("127.0.0.1", 0), 0,
               on_ready=lambda url: print(greeting(url, owner, settings), flush=True))  # fmt: skip


def _greeted(process: "subprocess.Popen[str]") -> Server:
    """Read what the server prints when it is ready."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if "curl" in line:
            break
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/client/\S+)", text)
    secret = re.search(r"API token +(\S{40})", text)
    assert found, text
    assert secret
    return Server(process.pid, int(found[1]), found[2], secret[1])


def _measured(server: Server, n_streams: int, n_runs: int) -> dict[str, object]:
    loop_us, process_us, rates = [], [], []
    for _ in range(n_runs):
        loop_s, process_s, began_s = server.loop_s, server.process_s, time.monotonic()
        n_tokens = asyncio.run(_streams(server, n_streams))
        rates.append(n_tokens / (time.monotonic() - began_s))
        loop_us.append((server.loop_s - loop_s) / n_tokens * 1e6)
        process_us.append((server.process_s - process_s) / n_tokens * 1e6)
    loop_median, loop_p95 = median_and_p95(loop_us)
    row: dict[str, object] = {
        "streams": n_streams,
        "loop_us_per_token": round(loop_median, 1),
        "loop_us_per_token_p95": round(loop_p95, 1),
        "process_us_per_token": round(median_and_p95(process_us)[0], 1),
        "tokens_per_s": round(median_and_p95(rates)[0]),
    }
    print(*(f"{name} {value}" for name, value in row.items()), sep="  ", flush=True)
    return row


async def _streams(server: Server, n_streams: int) -> int:
    return sum(await asyncio.gather(*(_stream(server) for _ in range(n_streams))))


async def _stream(server: Server) -> int:
    """Read one stream to its end; give the output tokens that it says it had."""
    content = json.dumps(BODY).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"POST {server.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {server.secret}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
    )
    answer = await reader.read(-1)
    writer.close()
    counted = re.search(rb'"completion_tokens":(\d+)', answer)
    assert counted, answer[-500:]
    return int(counted[1])


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        main()
