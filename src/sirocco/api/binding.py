"""The binding protocol's routes: `env.AI` of a Worker script asks here.

The runtime sends a request to `https://workers-binding.ai`; what brings it here decides how it
arrives. Plain workerd sends it as it is. `wrangler dev` sends it to an account's `ai/run/proxy`,
and miniflare to `/`, both with the address that was meant in a header. The first and the last
have no account in their path: it is the one that the API token belongs to.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import QueryParams
from starlette.responses import Response

from sirocco.api.answering import (
    answer_headers,
    begun,
    job_of,
    result_of,
    unused_header,
    whole_answer,
)
from sirocco.api.auth import CallerOfAccount, bearer
from sirocco.api.batch import IDEMPOTENCY_HEADER, batch_answer
from sirocco.api.body import members_of
from sirocco.api.errors import (
    REQUEST_ID_HEADER,
    RoutingError,
    error_answer,
    request_id_of,
)
from sirocco.api.models import models_page
from sirocco.api.playground import front_page
from sirocco.api.streaming import EventStream, run_events
from sirocco.errors import InvalidInput, SiroccoError
from sirocco.service.access import Access, Caller
from sirocco.service.answer import Answer
from sirocco.store.scopes import Scope
from sirocco.wire import sse
from sirocco.wire.batch import is_batch
from sirocco.wire.binding import (
    Version,
    binding_failure,
    model_id_of,
    packed_result,
    read_call,
    version_of,
)
from sirocco.wire.envelope import JsonObject
from sirocco.wire.tensors import read_tensors, tensors
from sirocco.wire.text_generation import TextGeneration, read_text_generation

router = APIRouter(include_in_schema=False)
account_router = APIRouter()

_METHODS = ["GET", "POST"]
_RUN_PATHS = ("/run", "/ai-gateway/run")
_MODELS_PATH = "/ai-api/models/search"
_FORWARDED_HEADER = "mf-header-"


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A request as the script's binding sent it, before anybody carried it here."""

    method: str
    path: str
    query: QueryParams
    headers: Mapping[str, str]


@router.api_route("/run", methods=_METHODS)
@router.api_route("/ai-gateway/run", methods=_METHODS)
@router.get("/ai-api/models/search")
async def from_workerd(request: Request) -> Response:
    """Answer plain workerd, whose external service is this server."""
    forwarded = Forwarded(request.method, request.url.path, request.query_params, request.headers)
    return await _answer(request, forwarded)


@account_router.api_route(
    "/accounts/{account_id}/ai/run/proxy", methods=_METHODS, include_in_schema=False
)
async def from_wrangler(request: Request, caller: CallerOfAccount) -> Response:
    """Answer `wrangler dev`; its first versions did not say which address was meant."""
    meant = request.headers.get("x-forwarded", "/run")
    return await _answer(request, _forwarded(request, meant, request.headers), caller)


@router.api_route("/", methods=_METHODS)
async def from_miniflare(request: Request) -> Response:
    """Answer miniflare; a person gets the playground.

    It adds no header of its own, and drops a name and password from the address it is given. So
    the API token may stand in that address, as `?api_token=…`, which nothing here writes down.
    """
    meant = request.headers.get("mf-url")
    if meant is None:
        return _front_page(request)
    headers = {
        name.removeprefix(_FORWARDED_HEADER): value
        for name, value in request.headers.items()
        if name.startswith(_FORWARDED_HEADER)
    }
    if "authorization" in request.headers:
        headers["authorization"] = request.headers["authorization"]
    elif "api_token" in request.query_params:
        headers["authorization"] = f"Bearer {request.query_params['api_token']}"
    return await _answer(request, _forwarded(request, meant, headers))


def _front_page(request: Request) -> Response:
    if request.method != "GET":
        raise RoutingError(405, 7001, f"{request.method} not supported for requested URI.")
    if "MF-Binding" in request.query_params:  # a connection of another kind; fetch does it all
        raise RoutingError(404, 7000, "No route for that URI")
    return front_page()


def _forwarded(request: Request, meant: str, headers: Mapping[str, str]) -> Forwarded:
    address = urlsplit(meant)
    return Forwarded(request.method, address.path, QueryParams(address.query), headers)


async def _answer(request: Request, forwarded: Forwarded, caller: Caller | None = None) -> Response:
    """Answer a request of the binding, faults in the binding's form."""
    is_search = forwarded.path == _MODELS_PATH and forwarded.method == "GET"
    if not is_search and forwarded.path not in _RUN_PATHS:
        raise RoutingError(400, 7000, "No route for that URI")
    caller = caller or await _caller(request, forwarded)
    if is_search:  # its faults are told as those of the REST route, which is what scripts read
        return models_page(request, forwarded.query)
    try:
        return await _run(request, forwarded, caller)
    except SiroccoError as error:
        return error_answer(error, request_id_of(request), binding_failure)


async def _caller(request: Request, forwarded: Forwarded) -> Caller:
    access: Access = request.app.state.access
    return await access.caller(bearer(forwarded.headers.get("authorization")), None, Scope.RUN)


async def _run(request: Request, forwarded: Forwarded, caller: Caller) -> Response:
    if forwarded.method != "POST":
        raise InvalidInput("'websocket' is not supported by this version of Sirocco")
    if "userInputs" in forwarded.query:
        raise InvalidInput("no model here takes a stream as its input")
    version = version_of(forwarded.query.get("version"))
    model_id = model_id_of(forwarded.headers.get("cf-consn-model-id"))
    members = await members_of(request)
    if version == 1:
        return await _run_tensors(request, caller, model_id, members)
    call = read_call(members)
    if is_batch(call):
        key = forwarded.headers.get(IDEMPOTENCY_HEADER)
        told, unused = await batch_answer(request, caller, model_id, call, key)
        headers = {REQUEST_ID_HEADER: request_id_of(request), **unused_header(unused)}
        return JSONResponse(told, headers=headers) if version == 3 else _packed(told, headers)
    inputs = read_text_generation(call.inputs)
    answer = await begun(request, caller, model_id, job_of(inputs))
    headers = answer_headers(answer, call.unused)
    if inputs.stream:
        events = run_events(answer, request.app.state.padding)
        return EventStream(answer, events, headers, binding_failure)
    return await _whole(request, answer, inputs, version, headers)


async def _whole(
    request: Request, answer: Answer, inputs: TextGeneration, version: Version,
    headers: dict[str, str],
) -> Response:  # fmt: skip
    result = await result_of(request, answer, inputs)
    if version == 2:
        return _packed(result, headers)
    return whole_answer(answer, result, headers)


def _packed(result: JsonObject, headers: Mapping[str, str]) -> Response:
    # No header says that it is packed: the package unpacks every answer.
    return Response(packed_result(result), headers=headers, media_type="application/json")


async def _run_tensors(
    request: Request, caller: Caller, model_id: str, members: Mapping[str, object]
) -> Response:
    call = read_tensors(members)
    inputs = read_text_generation(call.inputs)
    answer = await begun(request, caller, model_id, job_of(inputs))
    headers = answer_headers(answer, [])
    if inputs.stream:
        events = _tensor_events(answer, model_id, call.echo, request.app.state.padding)
        return EventStream(answer, events, headers, binding_failure)
    result = await result_of(request, answer, inputs)
    return whole_answer(answer, tensors(model_id, call.echo + result["response"]), headers)


async def _tensor_events(
    answer: Answer, model_id: str, echo: str, padding: sse.Padding
) -> AsyncIterator[bytes]:
    """Write an event for each piece of text; the package itself adds the one that ends all."""
    async for piece in answer:
        text, echo = echo + piece.text, ""
        if text:
            yield sse.encode({**tensors(model_id, text), "p": padding.draw()})
