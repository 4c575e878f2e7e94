"""An answer as server-sent events, sent as the engine makes it."""

from collections.abc import AsyncIterator, Mapping

import structlog
from fastapi.responses import JSONResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sirocco.api.disconnect import unless_disconnected
from sirocco.api.errors import WriteFailure, error_answer
from sirocco.errors import Aborted, SiroccoError
from sirocco.service.answer import Answer
from sirocco.service.tool_reader import ToolReader
from sirocco.tokenizer.tools import CallsRead
from sirocco.wire import sse
from sirocco.wire.envelope import JsonObject
from sirocco.wire.status import failure
from sirocco.wire.text_generation import calls_chunk, chunk, last_chunk, usage

log = structlog.get_logger(__name__)


class EventStream(Response):
    """A response that streams an answer, and closes it when it ends or the client leaves.

    The status is sent with the first event, so that an error before it is an error of its own:
    what follows the status can only be an event. `content-type` has no charset, since old
    clients compare it whole.

    Args:
        write: gives the body of an error that comes before the first event.
    """

    def __init__(
        self, answer: Answer, events: AsyncIterator[bytes], headers: Mapping[str, str],
        write: WriteFailure = failure,
    ) -> None:  # fmt: skip
        self._write = write
        self._answer = answer
        self._events = events
        self.status_code = 200
        self.background = None
        self.init_headers(
            {
                "content-type": "text/event-stream",
                "cache-control": "no-cache",
                "x-accel-buffering": "no",  # proxies that collect events would undo the stream
                **headers,
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application."""
        try:
            refusal = await unless_disconnected(receive, self._send_all(scope, send))
            if refusal is not None:
                await refusal(scope, receive, send)
        except Aborted:
            log.info("client left", request_id=self._answer.request_id)
        finally:
            self._answer.close()

    async def _send_all(self, scope: Scope, send: Send) -> JSONResponse | None:
        """Send every event; return instead what is to be answered if none can be."""
        has_started = False
        try:
            async for event in self._events:
                if not has_started:
                    await self._start(send)
                    has_started = True
                await send({"type": "http.response.body", "body": event, "more_body": True})
        except SiroccoError as error:
            scope["app"].state.metrics.failed(error)
            if not has_started:
                return error_answer(error, self._answer.request_id, self._write)
            log.warning("stream broke off", request_id=self._answer.request_id, reason=str(error))
            event = sse.encode(failure(error, self._answer.request_id))
            await send({"type": "http.response.body", "body": event, "more_body": True})
        if not has_started:  # an answer without text, in a form that has no event for its end
            await self._start(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return None

    async def _start(self, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )


async def run_events(answer: Answer, padding: sse.Padding) -> AsyncIterator[bytes]:
    """Write an event for each piece of text or for calls, then the counts, then the end."""
    reader = ToolReader() if answer.offers_tools else None
    reason = None
    async for piece in answer:
        text = piece.text if reader is None else reader.feed(piece.text)
        if text:
            yield sse.encode_texts(chunk(text, padding.draw()))
        reason = piece.finish_reason or reason
    called = CallsRead() if reader is None else reader.end()
    if called.calls:
        yield sse.encode(calls_chunk(called.calls, padding.draw()))
    yield sse.encode(last_chunk(usage_of(answer), str(reason) if called.is_cut_off else None))
    yield sse.DONE


def usage_of(answer: Answer) -> JsonObject:
    """Write the counts of an answer, and what it cost."""
    n_prompt, n_output, n_cached = (
        answer.n_prompt_tokens, answer.n_output_tokens, answer.n_cached_tokens,
    )  # fmt: skip
    return usage(n_prompt, n_output, n_cached, neurons=answer.neurons)
