"""`POST …/ai/v1/responses`."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.responses import Response

from sirocco.api.answering import answer_headers, begun, whole, whole_answer
from sirocco.api.auth import CallerOfAccount
from sirocco.api.body import members_of
from sirocco.api.document import GENERATING, answers, body
from sirocco.api.streaming import EventStream, usage_of
from sirocco.service.answer import Answer
from sirocco.service.service import Job
from sirocco.wire import sse
from sirocco.wire.answers import ResponseAnswer
from sirocco.wire.body_schema import body_schema
from sirocco.wire.openai import responses
from sirocco.wire.openai.generation import unused_names
from sirocco.wire.sse import Padding

router = APIRouter()


@router.post(
    "/accounts/{account_id}/ai/v1/responses",
    summary="Respond in text",
    openapi_extra=body(body_schema(responses.Response, refused=responses.REFUSED)),
    responses=answers(ResponseAnswer, GENERATING, streams=True),
)
async def respond(
    request: Request, account_id: str, caller: CallerOfAccount  # noqa: ARG001
) -> Response:  # fmt: skip
    """Respond in the newest of OpenAI's shapes; with `stream`, in events."""
    members = await members_of(request)
    inputs = responses.read_response(members)
    job = Job(inputs.messages, inputs.in_engines_words,
              reject_if_busy=inputs.options.reject_if_busy)  # fmt: skip
    answer = await begun(request, caller, inputs.model, job)
    headers = answer_headers(answer, unused_names(responses.Response, members))
    events = responses.Events(answer.request_id, inputs)
    if inputs.stream:
        return EventStream(answer, _events(answer, events, request.app.state.padding), headers)
    (one,) = await whole(request, answer)
    written = events.whole(one.text, str(one.finish_reason), usage_of(answer))
    return whole_answer(answer, written, headers)


async def _events(
    answer: Answer, events: responses.Events, padding: Padding
) -> AsyncIterator[bytes]:
    text, reason = "", "stop"
    has_begun = False
    async for piece in answer:
        if not has_begun:  # not before the first piece: an error before it has a status of its own
            has_begun = True
            for event in events.begin():
                yield sse.encode_named(*event)
        if piece.text:
            text += piece.text
            yield sse.encode_named(*events.text(piece.text, padding.draw()))
        reason = str(piece.finish_reason or reason)
    for event in events.end(text, reason, usage_of(answer)):
        yield sse.encode_named(*event)
