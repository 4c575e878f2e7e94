"""`POST /accounts/{account_id}/ai/run/{model}`: the request that the platform is about."""

from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.auth import CallerOfAccount
from sirocco.api.body import members_of
from sirocco.api.disconnect import unless_disconnected
from sirocco.api.errors import REQUEST_ID_HEADER, request_id_of
from sirocco.api.streaming import EventStream, run_events, usage_of
from sirocco.errors import InvalidInput
from sirocco.service.access import Caller
from sirocco.service.answer import Answer, AnswerOrigin, Spoken
from sirocco.service.service import Job, Service
from sirocco.wire.envelope import JsonObject, success
from sirocco.wire.response_format import parsed
from sirocco.wire.text_generation import (
    NEURONS_HEADER,
    TextGeneration,
    neurons_header,
    read_text_generation,
    unused_names,
    whole_result,
)

router = APIRouter()

NO_BATCHES = "'queueRequest' is not supported by this version of Sirocco"

_MOST_UNUSED_NAMES = 16
_BODY_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": TextGeneration.model_json_schema()}},
    }
}


@router.post(
    "/accounts/{account_id}/ai/run/{model_id:path}",
    summary="Run a text generation model",
    openapi_extra=_BODY_SCHEMA,
)
async def run_model(
    request: Request, account_id: str, model_id: str, caller: CallerOfAccount  # noqa: ARG001
) -> Response:  # fmt: skip
    """Generate text for `prompt` or `messages`; with `stream`, as server-sent events.

    The model id may be written with its slashes, or with %2F in their place.
    """
    members = await members_of(request)
    inputs = read_text_generation(members)
    if "queueRequest" in request.query_params:
        raise InvalidInput(NO_BATCHES)
    answer = await begun(request, caller, model_id, job_of(inputs))
    headers = answer_headers(answer, unused_names(members))
    if inputs.stream:
        return EventStream(answer, run_events(answer, request.app.state.padding), headers)
    result = await result_of(request, answer, inputs)
    return whole_answer(answer, success(result), headers)


async def begun(request: Request, caller: Caller, model_id: str, job: Job) -> Answer:
    """Let a model answer, unless the client leaves first. Raises: SiroccoError."""
    service: Service = request.app.state.service
    running = service.run(caller, model_id, job, request_id=request_id_of(request))
    return await unless_disconnected(request.receive, running)


async def result_of(request: Request, answer: Answer, inputs: TextGeneration) -> JsonObject:
    """Wait for the whole answer, and write it without an envelope."""
    (spoken,) = await whole(request, answer)
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


def answer_headers(answer: Answer, unused: list[str]) -> dict[str, str]:
    """Tell what is not in the body: the id, who really answered, and which members did nothing."""
    return told_headers(answer.request_id, answer.origin, unused)


def told_headers(request_id: str, origin: AnswerOrigin, unused: list[str]) -> dict[str, str]:
    """Tell the same of work that is no answer."""
    headers = {REQUEST_ID_HEADER: request_id}
    if origin.is_stand_in:
        headers["sirocco-stand-in"] = origin.served_by
    if unused:
        names = [
            quote(name[:64], safe="", errors="replace") for name in unused[:_MOST_UNUSED_NAMES]
        ]
        headers["sirocco-unused"] = ", ".join(names)
    return headers
