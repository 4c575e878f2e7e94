"""`POST /accounts/{account_id}/ai/run/{model}`: the request that the platform is about."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.answering import (
    answer_headers,
    begun,
    job_of,
    result_of,
    unused_header,
    whole_answer,
)
from sirocco.api.auth import CallerOfAccount
from sirocco.api.batch import IDEMPOTENCY_HEADER, batch_answer
from sirocco.api.body import members_of
from sirocco.api.document import RUNNING, answers, body
from sirocco.api.errors import REQUEST_ID_HEADER, request_id_of
from sirocco.api.streaming import EventStream, run_events
from sirocco.service.access import Caller
from sirocco.wire.answers import RunAnswer
from sirocco.wire.batch import is_batch
from sirocco.wire.call import Call, call_of_body, call_of_path
from sirocco.wire.envelope import success
from sirocco.wire.model_schema import named_body_schema, run_body_schema
from sirocco.wire.text_generation import read_text_generation

router = APIRouter()

_RUN_BODY = run_body_schema()
_NAMED_BODY = named_body_schema(_RUN_BODY)
_QUERY = {
    "parameters": [
        {
            "name": "queueRequest", "in": "query", "required": False,
            "schema": {"enum": ["true", "false", "1", "0"]},
            "description": "The body is a batch. It may stand in `options` as well.",
        }
    ]
}  # fmt: skip
_ANSWERS = answers(RunAnswer, RUNNING, streams=True)


# Before the other route, which would take the last slash for a model without a name.
@router.post("/accounts/{account_id}/ai/run/", include_in_schema=False)
@router.post(
    "/accounts/{account_id}/ai/run",
    summary="Run the model that the body names",
    openapi_extra=body(_NAMED_BODY) | _QUERY,
    responses=_ANSWERS,
)
async def run_named_model(
    request: Request, account_id: str, caller: CallerOfAccount  # noqa: ARG001
) -> Response:  # fmt: skip
    """Do what the route with the model in its path does; the body has `model` and `input`."""
    queue_request = request.query_params.get("queueRequest")
    model_id, call = call_of_body(await members_of(request), queue_request)
    return await _answered(request, caller, model_id, call)


@router.post(
    "/accounts/{account_id}/ai/run/{model_id:path}",
    summary="Run a text generation model",
    openapi_extra=body(_RUN_BODY) | _QUERY,
    responses=_ANSWERS,
)
async def run_model(
    request: Request, account_id: str, model_id: str, caller: CallerOfAccount  # noqa: ARG001
) -> Response:  # fmt: skip
    """Generate text for `prompt` or `messages`; with `stream`, as server-sent events. Or queue
    `requests`, with `queueRequest`, and ask for their results with their `request_id`.

    The model id may be written with its slashes, or with %2F in their place.
    """
    call = call_of_path(await members_of(request), request.query_params.get("queueRequest"))
    return await _answered(request, caller, model_id, call)


async def _answered(request: Request, caller: Caller, model_id: str, call: Call) -> Response:
    if is_batch(call):
        key = request.headers.get(IDEMPOTENCY_HEADER)
        told, unused = await batch_answer(request, caller, model_id, call, key)
        headers = {REQUEST_ID_HEADER: request_id_of(request), **unused_header(unused)}
        return JSONResponse(success(told), headers=headers)
    inputs = read_text_generation(call.inputs)
    answer = await begun(request, caller, model_id, job_of(inputs))
    headers = answer_headers(answer, call.unused)
    if inputs.stream:
        return EventStream(answer, run_events(answer, request.app.state.padding), headers)
    result = await result_of(request, answer, inputs)
    return whole_answer(answer, success(result), headers)
