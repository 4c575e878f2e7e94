"""Errors fly up to here and become answers, each in the envelope of its layer."""

import uuid
from collections.abc import Callable

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sirocco.errors import DatabaseAway, LimitError, ModelNotInstalled, SiroccoError
from sirocco.wire.envelope import JsonObject, gateway_failure
from sirocco.wire.status import failure, layer_of, status_of

log = structlog.get_logger(__name__)

REQUEST_ID_HEADER = "cf-ai-req-id"

WriteFailure = Callable[[SiroccoError, str], JsonObject]
"""Writes an error and its request id as a body."""


class RoutingError(Exception):
    """The request did not find its way to a use case; it has no error class of its own below."""

    def __init__(self, http_status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.http_status, self.code = http_status, code


def add_error_handlers(app: FastAPI) -> None:
    """Let every failure of `app` be told in the public envelopes."""
    app.add_exception_handler(SiroccoError, _sirocco_error)
    app.add_exception_handler(RoutingError, _routing_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unforeseen)


def request_id_of(request: Request) -> str:
    """Return the request's id; it is drawn when it is first asked for."""
    if not hasattr(request.state, "request_id"):
        request.state.request_id = str(uuid.uuid4())
    request_id: str = request.state.request_id
    return request_id


def error_answer(
    error: SiroccoError, request_id: str, write: WriteFailure = failure
) -> JSONResponse:
    """Turn an error into its answer, and write those that are our fault into the log."""
    http_status, _ = status_of(error)
    log_failure(error, request_id)
    headers = {}
    if layer_of(error) == "inference":
        headers[REQUEST_ID_HEADER] = request_id
    if http_status in (429, 503):
        headers["retry-after"] = str(error.retry_after_s if isinstance(error, LimitError) else 1)
    return JSONResponse(write(error, request_id), http_status, headers)


def log_failure(error: SiroccoError, request_id: str) -> None:
    """Write an error into the log if it is our fault."""
    http_status, code = status_of(error)
    if isinstance(error, ModelNotInstalled):
        log.warning("no weights", request_id=request_id, reason=str(error))
    elif isinstance(error, DatabaseAway):
        log.error("the database is away", request_id=request_id, reason=str(error))
    elif http_status >= 500 and not isinstance(error, LimitError):
        log.error("request failed", request_id=request_id, code=code, reason=str(error))


async def _sirocco_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SiroccoError)
    request.app.state.metrics.failed(error)
    return error_answer(error, request_id_of(request))


async def _routing_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RoutingError)
    return JSONResponse(gateway_failure(error.code, str(error)), error.http_status)


async def _http_exception(request: Request, error: Exception) -> Response:
    """Tell in the public words that the framework found no route, or none for the method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        message = f"{request.method} not supported for requested URI."
        return JSONResponse(gateway_failure(7001, message), 405, error.headers)
    return JSONResponse(gateway_failure(7000, "No route for that URI"), 400)


async def _unforeseen(request: Request, error: Exception) -> Response:
    """Tell nothing of what went wrong; the framework writes the traceback into the log."""
    fault = SiroccoError(repr(error))
    request.app.state.metrics.failed(fault)
    return error_answer(fault, request_id_of(request))
