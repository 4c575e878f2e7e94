"""A server that is told to end lets live answers end, or says why they do not."""

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from tests.served import STORY, Served, wait_until

from sirocco.wire.sse import Decoder

N_STREAMS = 100


@pytest.fixture
def served(tmp_path, request) -> Iterator[Served]:
    server = Served(tmp_path / "served", shutdown_s=request.param)
    assert server.run(max_tokens=1).status_code == 200
    yield server
    server.process.kill()
    server.stop()


async def stream(server, began):
    """Ask for a stream; give the status and the body, however the server ends it."""
    url = httpx.URL(server.path)
    content = json.dumps({**STORY, "stream": True}).encode()
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        f"POST {url.raw_path.decode()} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: {server.headers['Authorization']}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n".encode()
        + content
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += await reader.read(1)
        began.add(writer)
    body = await reader.read(-1)
    writer.close()
    return int(head.split()[1]), body


def events_of(body):
    """Undo the chunks of HTTP, then read the events."""
    chunks = re.findall(rb"[0-9a-f]+\r\n(data: .*?\n\n)\r\n", body, re.DOTALL)
    return Decoder().feed(b"".join(chunks))


def is_refused(status, body):
    """It came too late to be begun, and may be sent again."""
    return status == 503 and json.loads(body)["errors"][0]["code"] == 3040


def is_whole_or_explained(status, body):
    """The answer is complete, or its last event or the answer itself tells the reason."""
    if status != 200:
        error = json.loads(body)["errors"][0]
        is_reason = (status, error["code"]) == (408, 3008) and "shutting down" in error["message"]
        return is_reason or is_refused(status, body)
    last = events_of(body)[-1]
    return last == "[DONE]" or json.loads(last)["errors"][0]["code"] == 3008


@pytest.mark.parametrize("served", [2], indirect=True)
def test_every_stream_ends_whole_or_with_its_reason_and_all_usage_is_kept(served):
    async def scenario():
        began: set[object] = set()
        streams = [asyncio.create_task(stream(served, began)) for _ in range(N_STREAMS)]
        async with asyncio.timeout(60):
            while not began:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        told_s = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        async with httpx.AsyncClient(timeout=10) as client:
            ready = await client.get(f"{served.url}/health/ready")
            while ready.status_code == 200:
                ready = await client.get(f"{served.url}/health/ready")
            unready_s = time.monotonic() - told_s
            refused = await client.post(served.path, json=STORY, headers=served.headers)
        answers = await asyncio.gather(*streams)
        await asyncio.to_thread(served.process.wait, 30)
        return ready, unready_s, refused, answers, time.monotonic() - told_s

    ready, unready_s, refused, answers, exit_s = asyncio.run(scenario())

    assert "the server is shutting down" in ready.json()["faults"]
    assert unready_s < 1.5
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (503, 3040)
    assert int(refused.headers["retry-after"]) >= 1
    assert all(is_whole_or_explained(*answer) for answer in answers)
    n_begun = sum(not is_refused(*answer) for answer in answers)
    assert len(served.logged("request finished")) == n_begun + 1
    sys.stderr.write(f"exit with {n_begun} streams: {exit_s:.2f} s, of which 2 to drain\n")
    assert exit_s < 2 + 3 * 1
    assert served.logged("engine died") == []


@pytest.mark.parametrize("served", [60], indirect=True)
def test_a_second_signal_does_not_wait_but_still_tells_the_reason(served):
    async def scenario():
        streaming = asyncio.create_task(stream(served, set()))
        await asyncio.sleep(0.3)
        began_s = time.monotonic()
        served.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        served.process.send_signal(signal.SIGINT)
        answer = await streaming
        await asyncio.to_thread(served.process.wait, 30)
        return answer, time.monotonic() - began_s

    answer, exit_s = asyncio.run(scenario())

    assert is_whole_or_explained(*answer)
    assert exit_s < 10
    wait_until(lambda: len(served.logged("request finished")) == 2)
