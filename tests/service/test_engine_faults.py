"""What clients see when the process of an engine, or of the server, is killed or stopped.

The figures we hold are a third of the bounds here: those must hold on a busy machine, too.
"""

import contextlib
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from tests.served import Served, is_dead, wait_until

from sirocco.wire.sse import Decoder

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it looks into /proc"),
    pytest.mark.timeout(3600),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served") / "home")
    assert server.run(max_tokens=1).status_code == 200
    yield server
    server.process.kill()
    server.stop()


def report(name: str, seconds: list[float]) -> None:
    """Say what was measured; pytest shows it with -s."""
    middle, most = statistics.median(seconds), max(seconds)
    sys.stderr.write(f"{name}: median {middle:.2f} s, most {most:.2f} s, n {len(seconds)}\n")


@pytest.fixture
def servers(served, n_loops, tmp_path, request) -> Iterator[Served]:
    """As many servers as there are loops: the third fault within a minute would be a crash loop."""

    def in_turn() -> Iterator[Served]:
        yield served
        for i in range(1, n_loops):
            if i % 10 == 0:
                sys.stderr.write(f"{request.node.name}: {i} of {n_loops}\n")
            server = Served(tmp_path / f"home{i}")
            try:
                assert server.run(max_tokens=1).status_code == 200
                yield server
            finally:
                server.process.kill()
                server.stop()

    return in_turn()


def is_ready(served: Served) -> bool:
    return served.ready().status_code == 200


def is_down(served: Served) -> bool:
    return served.ready().status_code == 503


def test_the_servers_process_holds_no_torch(served):
    assert "libtorch" in Path(f"/proc/{served.engine_pid}/maps").read_text()
    assert "libtorch" not in Path(f"/proc/{served.process.pid}/maps").read_text()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_engine_without_work_takes_no_processor(served):
    before_s = cpu_s(served.engine_pid)

    time.sleep(1)

    assert cpu_s(served.engine_pid) - before_s <= 0.05


def test_an_engine_that_is_killed_ends_its_streams_with_an_event_and_comes_back(servers):
    event_s, ready_s = [], []
    for served in servers:
        with served.stream() as chunks:
            decoder = Decoder()
            events = decoder.feed(next(chunks))
            killed_s = time.monotonic()
            os.kill(served.engine_pid, signal.SIGKILL)
            for chunk in chunks:
                events += decoder.feed(chunk)
            event_s.append(time.monotonic() - killed_s)
        waited = served.run(max_tokens=2)  # until the new engine is there
        ready_s.append(time.monotonic() - killed_s)
        assert waited.status_code == 200
        assert is_ready(served)
        assert json.loads(events[-1])["errors"][0]["code"] == 5012
        assert "[DONE]" not in events

    report("killed engine, last event", event_s)
    report("killed engine, ready again", ready_s)


def test_the_tokens_of_a_killed_engine_are_counted(served):
    with served.stream() as chunks:
        n_events = next(chunks).count(b"data:")
        os.kill(served.engine_pid, signal.SIGKILL)
        n_events += sum(chunk.count(b"data:") for chunk in chunks) - 1  # the last is the error

    line = served.logged("request finished")[-1]
    assert line["finish_reason"] == "abort"
    assert line["output_tokens"] >= n_events > 0


def test_an_engine_that_is_stopped_is_noticed_and_replaced(servers):
    noticed_s, ready_s = [], []
    for served in servers:
        wait_until(partial(is_ready, served))
        stopped = served.engine_pid
        stopped_s = time.monotonic()
        os.kill(stopped, signal.SIGSTOP)
        noticed_s.append(wait_until(partial(is_down, served)))
        fault = served.ready()
        assert fault.status_code == 200 or "breeze" in fault.json()["faults"][0]
        wait_until(partial(is_ready, served))
        ready_s.append(time.monotonic() - stopped_s)
        assert is_dead(stopped)
        assert served.run(max_tokens=2).status_code == 200

    report("stopped engine, noticed", noticed_s)
    report("stopped engine, ready again", ready_s)


def test_a_server_that_was_stopped_itself_kills_no_engine(served):
    """The heartbeats of that time lie unread in the socket; the engine has done nothing wrong."""
    wait_until(lambda: is_ready(served))
    engine = served.engine_pid

    os.kill(served.process.pid, signal.SIGSTOP)
    time.sleep(3)
    os.kill(served.process.pid, signal.SIGCONT)

    for _ in range(10):
        assert served.ready().status_code == 200
        time.sleep(0.05)
    assert served.engine_pid == engine


def test_an_engine_leaves_the_signals_of_a_terminal_to_its_server(served):
    wait_until(lambda: is_ready(served))

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        os.kill(served.engine_pid, signal_number)

    assert os.getpgid(served.engine_pid) != os.getpgid(served.process.pid)
    assert served.run(max_tokens=2).status_code == 200


def test_an_engine_whose_server_is_killed_ends(servers):
    """It does so even in the middle of a step; this ends the module's server, so it is last."""
    seconds = []
    for server in servers:
        assert server.run(max_tokens=1).status_code == 200
        engine = server.engine_pid
        with contextlib.suppress(httpx.TransportError), server.stream() as chunks:
            next(chunks)
            server.process.kill()
            seconds.append(wait_until(partial(is_dead, engine)))

    report("killed server, engine ended", seconds)
