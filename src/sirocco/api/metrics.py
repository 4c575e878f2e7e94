"""`GET /metrics`, and the layer that counts requests for it."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from sirocco.service.metrics import Metrics

router = APIRouter()

UNREAD = "unread"
"""The endpoint of what was refused before it was read."""

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/metrics", summary="Counts for Prometheus", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Write what this server has counted since its start; no account, prompt or API token."""
    found: Metrics = request.app.state.metrics
    return PlainTextResponse(found.written(), headers={"content-type": _TYPE})


class RequestCounting:
    """An ASGI middleware, the outermost one; `Metrics` is found in the application's state."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and count each answer that begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                counted: Metrics = scope["app"].state.metrics
                model_id = scope.get("state", {}).get("model_id", "")
                counted.requested(_endpoint(scope), model_id, message["status"])
            await send(message)

        await self._app(scope, receive, counting)


def _endpoint(scope: Scope) -> str:
    """Name what answered, never the path: anybody can think of paths."""
    if scope.get("state", {}).get("is_shed"):
        return UNREAD
    return getattr(scope.get("endpoint"), "__name__", "none")
