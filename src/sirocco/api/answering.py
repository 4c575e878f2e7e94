"""From a body to an answer that has begun, and from that to a whole one: what routes share."""

from collections.abc import Sequence
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.disconnect import unless_disconnected
from sirocco.api.errors import REQUEST_ID_HEADER, request_id_of
from sirocco.api.streaming import usage_of
from sirocco.service.access import Caller
from sirocco.service.answer import Answer, AnswerOrigin, Spoken
from sirocco.service.service import Job, Service
from sirocco.wire.envelope import JsonObject
from sirocco.wire.response_format import parsed
from sirocco.wire.text_generation import (
    NEURONS_HEADER,
    TextGeneration,
    neurons_header,
    whole_result,
)

_MOST_UNUSED_NAMES = 16


async def begun(request: Request, caller: Caller, model_id: str, job: Job) -> Answer:
    """Let a model answer, unless the client leaves first. Raises: SiroccoError."""
    service: Service = request.app.state.service
    request.state.model_id = service.known_model_id(model_id)
    running = service.run(caller, model_id, job, request_id=request_id_of(request))
    return await unless_disconnected(request.receive, running)


async def result_of(request: Request, answer: Answer, inputs: TextGeneration) -> JsonObject:
    """Wait for the whole answer, and write it without an envelope."""
    (spoken,) = await whole(request, answer)
    return result_of_spoken(spoken, answer, inputs)


def result_of_spoken(spoken: Spoken, answer: Answer, inputs: TextGeneration) -> JsonObject:
    """Write a whole answer without an envelope."""
    response = spoken.text if inputs.grammar is None else parsed(spoken.text)
    reason = str(spoken.finish_reason) if spoken.called.is_cut_off else None
    return whole_result(response, usage_of(answer), spoken.called.calls, reason)


async def whole(request: Request, answer: Answer) -> list[Spoken]:
    """Wait for the whole answers, unless the client leaves first."""
    try:
        return await unless_disconnected(request.receive, answer.whole())
    finally:
        answer.close()


def whole_answer(answer: Answer, content: JsonObject, headers: dict[str, str]) -> Response:
    """Answer at once, and tell in a header, too, what it cost."""
    told = {**headers, NEURONS_HEADER: neurons_header(answer.neurons)}
    return JSONResponse(content, headers=told)


def job_of(inputs: TextGeneration) -> Job:
    """Say in the service's words what a body asks for."""
    return Job(
        subject=inputs.subject,
        sampling=inputs.sampling,
        raw=inputs.raw,
        lora=inputs.lora,
        reject_if_busy=inputs.options.reject_if_busy,
        tools=inputs.offered,
        must_call=inputs.must_call,
        only_tool=inputs.only_tool,
        several_calls=inputs.parallel_tool_calls,
    )


def answer_headers(answer: Answer, unused: Sequence[str]) -> dict[str, str]:
    """Tell what is not in the body: the id, who really answered, and which members did nothing."""
    return told_headers(answer.request_id, answer.origin, unused)


def told_headers(request_id: str, origin: AnswerOrigin, unused: Sequence[str]) -> dict[str, str]:
    """Tell the same of work that is no answer."""
    headers = {REQUEST_ID_HEADER: request_id, **unused_header(unused)}
    if origin.is_stand_in:
        headers["sirocco-stand-in"] = origin.served_by
    return headers


def unused_header(unused: Sequence[str]) -> dict[str, str]:
    """Tell which members nothing reads, in a header that no name can break."""
    if not unused:
        return {}
    names = [quote(name[:64], safe="", errors="replace") for name in unused[:_MOST_UNUSED_NAMES]]
    return {"sirocco-unused": ", ".join(names)}
