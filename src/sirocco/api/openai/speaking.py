"""What the routes of `/ai/v1` have in common: from a body to an answer that has begun."""

from fastapi import Request

from sirocco.api.body import read_body
from sirocco.api.disconnect import unless_disconnected
from sirocco.api.errors import request_id_of
from sirocco.service.access import Caller
from sirocco.service.answer import Answer
from sirocco.service.service import Job, Service
from sirocco.wire.body import parse_object
from sirocco.wire.envelope import JsonObject


async def members_of(request: Request) -> JsonObject:
    """Read the body. Raises: InputError."""
    return parse_object(await read_body(request, request.app.state.settings.max_body_bytes))


async def begun(request: Request, caller: Caller, model_id: str, job: Job) -> Answer:
    """Let a model answer, unless the client leaves first. Raises: SiroccoError."""
    service: Service = request.app.state.service
    running = service.run(caller, model_id, job, request_id=request_id_of(request))
    return await unless_disconnected(request.receive, running)
