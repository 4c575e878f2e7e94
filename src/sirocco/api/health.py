"""For whoever watches the process: alive is not the same as ready."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.document import answers
from sirocco.wire.answers import Live, NotReady, Ready

if TYPE_CHECKING:
    from sirocco.service.health import Health


router = APIRouter(prefix="/health")

_LIVE = answers(Live, of_account=False)
_READY = answers(
    Ready, of_account=False, more={503: {"model": NotReady, "description": "Not now."}}
)


@router.get("/live", summary="The event loop answers", responses=_LIVE)
async def live() -> Response:
    """Answer 200 while the process can answer at all."""
    return JSONResponse({"status": "live"})


@router.get("/ready", summary="Requests can be served", responses=_READY)
async def ready(request: Request) -> Response:
    """Answer 200 if the database and every started engine work, else 503 with the reasons."""
    health: Health = request.app.state.health
    faults = await health.faults()
    if faults:
        return JSONResponse({"status": "not ready", "faults": faults}, 503)
    return JSONResponse({"status": "ready", "models": health.running})
