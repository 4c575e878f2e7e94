"""The API's description of itself: what each route takes, and every answer that it can give.

A route says with `answers` and `body` what is its own; `openapi_document` adds what holds for all
of them. Errors come from `wire/status.py`, so the description cannot tell of others.
"""

import re
from collections.abc import Callable, Iterator
from functools import reduce
from operator import or_
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sirocco.errors import (
    Aborted,
    BatchesFull,
    DailyQuotaExceeded,
    DatabaseAway,
    EngineFault,
    InputError,
    InvalidApiToken,
    JsonNotMet,
    JunkCredentials,
    LoraNotSupported,
    MalformedCredentials,
    MissingBody,
    MissingCredentials,
    MissingScope,
    ModelFault,
    ModelNotInstalled,
    OutOfCapacity,
    PromptTooLong,
    RateLimited,
    RequestTooLarge,
    SiroccoError,
    TimedOut,
    Unavailable,
    UnknownBatch,
    UnknownModel,
    WrongCredentials,
)
from sirocco.wire.answers import GatewayFailure, InferenceFailure
from sirocco.wire.envelope import JsonObject
from sirocco.wire.status import Layer, Row, public_row

Errors = tuple[type[SiroccoError], ...]

_CREDENTIALS: Errors = (MissingCredentials, MalformedCredentials, JunkCredentials)
LOOKING: Errors = (*_CREDENTIALS, WrongCredentials, MissingScope, DatabaseAway, SiroccoError)
"""What every route with a scope can answer."""
VERIFYING: Errors = (*_CREDENTIALS, InvalidApiToken, DatabaseAway, SiroccoError)
SEARCHING: Errors = (*LOOKING, InputError)
GENERATING: Errors = (
    *SEARCHING, MissingBody, RequestTooLarge, UnknownModel, ModelNotInstalled, PromptTooLong,
    OutOfCapacity, Unavailable, RateLimited, DailyQuotaExceeded, Aborted, TimedOut,
    ModelFault, EngineFault, JsonNotMet,
)  # fmt: skip
RUNNING: Errors = (*GENERATING, LoraNotSupported, BatchesFull, UnknownBatch)

_ENVELOPES: dict[Layer, Any] = {"gateway": GatewayFailure, "inference": InferenceFailure}
_RETRY_AFTER = {"description": "Whole seconds.", "schema": {"type": "integer", "minimum": 1}}
_REQUEST_ID = {
    "description": "The request's id, under which its usage is counted.",
    "schema": {"type": "string", "format": "uuid"},
}
_STREAM = {
    "text/event-stream": {
        "schema": {"description": "Events of `data:` alone: JSON each, and at last `[DONE]`."}
    }
}
"""No type: before OpenAPI 3.2 some take the schema for the stream's, and others for an event's."""
_PATH_PARAMETERS = {
    "account_id": ("An account.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}),
    "model_id": (
        "A model id; its slashes as they are, or as %2F.", {"type": "string", "minLength": 1},
    ),
    "request_id": (
        "The header `cf-ai-req-id` of an answer.", {"type": "string", "pattern": "^[^/]+$"},
    ),
}  # fmt: skip
_NO_ROUTE = Row(404, 7003, layer="gateway")
"""The account id is not 32 lowercase hex digits."""
_IN_DEFINITIONS = re.compile(r"\A#/\$defs/")

Responses = dict[int | str, dict[str, Any]]


def answers(
    model: object, errors: Errors = (), *, of_account: bool = True, streams: bool = False,
    more: Responses | None = None,
) -> Responses:  # fmt: skip
    """Describe the answers of a route, for its decorator.

    Args:
        model: type of the whole answer; None if it never goes well.
        errors: what it may raise.
        of_account: its path names an account, which may be none.
        streams: the same may come as events, and each answer has a request id.
        more: answers of its own.
    """
    told: Responses = {}
    if model is not None:
        told[200] = {"model": model, "description": "It went well."}
    if streams:
        told[200] |= {"content": _STREAM, "headers": {"cf-ai-req-id": _REQUEST_ID}}
    for status in sorted({public_row(error).http for error in errors}):
        told[status] = _failure([e for e in errors if public_row(e).http == status])
    if of_account:
        told[404] = _failure([e for e in errors if public_row(e).http == 404], _NO_ROUTE)
    return told | (more or {})


def body(schema: JsonObject) -> JsonObject:
    """Describe the body of a route, for its decorator's `openapi_extra`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def openapi_document(app: FastAPI) -> Callable[[], JsonObject]:
    """Return what FastAPI asks for the document; it is made once."""

    def document() -> JsonObject:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description,
                               routes=app.routes)  # fmt: skip
            app.openapi_schema = _completed(made)
        return app.openapi_schema

    return document


def _failure(errors: list[type[SiroccoError]], *more: Row) -> dict[str, Any]:
    rows = [*map(public_row, errors), *more]
    envelopes = [_ENVELOPES[layer] for layer in sorted({row.layer for row in rows})]
    codes = ", ".join(str(code) for code in sorted({row.code for row in rows}))
    told: dict[str, Any] = {
        "model": reduce(or_, envelopes),
        "description": f"Code {codes}: see the table of errors in docs/api.md.",
    }
    if rows[0].http in (429, 503):
        told["headers"] = {"retry-after": _RETRY_AFTER}
    return told


def _completed(document: JsonObject) -> JsonObject:
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which nobody sends
        schemas.pop(name, None)
    for operation in _operations(document):
        operation["responses"].pop("422", None)
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                told, schema = _PATH_PARAMETERS[parameter["name"]]
                parameter |= {"description": told, "schema": schema}
        for content in operation.get("requestBody", {}).get("content", {}).values():
            content["schema"] = _hoisted(content["schema"], schemas)
    return document


def _operations(document: JsonObject) -> Iterator[JsonObject]:
    for path in document["paths"].values():
        yield from path.values()


def _hoisted(schema: JsonObject, schemas: JsonObject) -> JsonObject:
    """Move a schema's definitions to where the whole document has them."""
    own = {name: part for name, part in schema.items() if name != "$defs"}
    for name, definition in schema.get("$defs", {}).items():
        moved = _moved(definition)
        assert schemas.setdefault(name, moved) == moved, f"two schemas are called {name}"
    moved_whole: JsonObject = _moved(own)
    return moved_whole


def _moved(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_moved(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _IN_DEFINITIONS.sub("#/components/schemas/", part) if name == "$ref" else _moved(part)
        for name, part in schema.items()
    }
