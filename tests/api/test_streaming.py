"""Event streams as ASGI applications."""

import asyncio
from types import SimpleNamespace

from sirocco.api.streaming import EventStream


async def no_events():
    return
    yield b""


def test_a_stream_without_any_event_is_an_empty_answer():
    """Streams of the first generation have no event for their end; an answer may have no text."""
    sent, closed = [], []
    answer = SimpleNamespace(request_id="r", close=lambda: closed.append(True))

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    asyncio.run(EventStream(answer, no_events(), {})({"type": "http"}, receive, send))  # type: ignore[arg-type]

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert (sent[0]["status"], sent[1]["body"], sent[1]["more_body"]) == (200, b"", False)
    assert closed
