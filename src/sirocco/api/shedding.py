"""The outermost layer: a request that will be refused for lack of room goes no further.

Most of them were told so by `Door` already. This layer keeps count of those that are being read,
and finds the model where only the body names it. It stands before routing, and parses no more than
it must: the path, two headers, and the body's `model`. Whatever it does not understand goes on,
and is told what is wrong with it by those who do.
"""

import asyncio
import re
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sirocco.api.auth import bearer
from sirocco.api.errors import error_answer
from sirocco.errors import AuthError, LimitError, SiroccoError

if TYPE_CHECKING:
    from sirocco.service.shedding import Shedder

_PATH = re.compile(
    r"/client/v4/accounts/([0-9a-f]{32})/ai/"
    r"(?:run/(.+)|v1/(?:chat/completions|completions|responses))",
    re.DOTALL,
)

_SMALL_BODY = 64 * 1024
"""Bytes that are read on behind a refusal, so that the connection may stay open."""
_READ_AHEAD = 256 * 1024
"""Bytes that are read to find the name of a model."""
_LINGER_BYTES, _LINGER_S = 1024 * 1024, 1.0
"""What a client may send on before its connection is closed: it reads our answer after that."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who wants to run what: what path and headers say.

    Attributes:
        model_id: None if it stands in the body.
    """

    account_id: str
    secret: str
    model_id: str | None
    headers: Mapping[bytes, bytes]


class _Named(msgspec.Struct):
    """The one member of a body that is looked at."""

    model: str


class LoadShedding:
    """An ASGI middleware; `Shedder` is found as `shedder` in the application's state."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or let pass."""
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        asked = ask(scope["path"], scope["headers"]) if is_post else None
        if asked is None:
            await self._app(scope, receive, send)
            return
        shedder: Shedder = scope["app"].state.shedder
        caller = shedder.known_caller(asked.secret, asked.account_id)
        model_id = asked.model_id
        if caller is not None and model_id is None:
            model_id, receive = await _named_model(receive)
        if caller is None or model_id is None:
            await self._app(scope, receive, send)
            return
        request_id = scope.setdefault("state", {})["request_id"] = str(uuid.uuid4())
        try:
            engine = shedder.expect(caller, model_id, request_id)
        except LimitError as error:
            scope["state"]["is_shed"] = True
            scope["app"].state.metrics.failed(error)
            await _refuse(error, request_id, asked, receive, send)
            return
        try:
            if engine is not None:
                await engine.turn(request_id, caller.account_id)
            await self._app(scope, receive, send)
        finally:
            if engine is not None:
                engine.forget(request_id)


def ask(path: str, headers: Iterable[tuple[bytes, bytes]]) -> Asked | None:
    """Read a POST to run a model; None for all others, and for what has no credentials.

    Args:
        headers: their names in lower case.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    known = dict(headers)
    try:
        secret = bearer(known.get(b"authorization", b"").decode("latin-1"))
    except AuthError:
        return None
    return Asked(found[1], secret, found[2], known)


async def _named_model(receive: Receive) -> tuple[str | None, Receive]:
    """Find the name of a model in a body; give back a `receive` that begins before it.

    The name is None if the body is longer than we read ahead, or says nothing that we understand.
    """
    messages: list[Message] = []
    n_bytes, is_more = 0, True
    while is_more and n_bytes <= _READ_AHEAD:
        messages.append(await receive())
        n_bytes += len(messages[-1].get("body", b""))
        is_more = messages[-1].get("more_body", False)

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    if is_more:
        return None, again
    body = b"".join(message.get("body", b"") for message in messages)
    # Of a type that is no text, there is no name; what is wrong is told where the body is read.
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(body, type=_Named).model, again
    return None, again


async def _refuse(
    error: SiroccoError, request_id: str, asked: Asked, receive: Receive, send: Send
) -> None:
    """Answer; read no long body to its end, but close the connection in its middle."""
    answer = error_answer(error, request_id)
    is_long = has_long_body(asked.headers)
    if is_long:
        answer.headers["connection"] = "close"
    await send(
        {"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers}
    )
    if is_long:
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        await _linger(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    else:
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def has_long_body(headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a body is long, or may be: chunked, or waiting for our word to come at all."""
    length = headers.get(b"content-length", b"")
    is_short = length.isdigit() and len(length) < 10 and int(length) <= _SMALL_BODY
    return not is_short or b"expect" in headers


async def _linger(receive: Receive) -> None:
    """Drop what a client is sending for a moment.

    If we closed while its bytes are on their way, the kernel would answer them with a reset, and
    the client might never see what we have said.
    """
    n_bytes = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while n_bytes < _LINGER_BYTES:
                message = await receive()
                n_bytes += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
