"""`GET …/ai/v1/models`, which the public service lacks, and embeddings, which are refused."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.auth import CallerOfAccount, ReaderOfAccount
from sirocco.api.document import LOOKING, SEARCHING, answers
from sirocco.errors import InvalidInput
from sirocco.wire.answers import OpenAIModels

if TYPE_CHECKING:
    from sirocco.service.service import Service

router = APIRouter()


@router.get(
    "/accounts/{account_id}/ai/v1/models",
    summary="List the models that are here",
    responses=answers(OpenAIModels, LOOKING),
)
async def list_models(
    request: Request, account_id: str, caller: ReaderOfAccount  # noqa: ARG001
) -> Response:  # fmt: skip
    """List the models whose weights are on this machine, in OpenAI's shape."""
    service: Service = request.app.state.service
    models = [
        {"id": entry.model_id, "object": "model", "created": 0, "owned_by": _owner(entry.model_id)}
        for entry in service.catalog.entries
        if entry.is_installed
    ]
    return JSONResponse({"object": "list", "data": models})


@router.post(
    "/accounts/{account_id}/ai/v1/embeddings",
    summary="Refused: no model embeds",
    status_code=400,
    responses=answers(None, SEARCHING),
)
async def refuse_embeddings(account_id: str, caller: CallerOfAccount) -> Response:  # noqa: ARG001
    """Refuse: every model here generates text."""
    raise InvalidInput("no embedding model is served: the models here generate text")


def _owner(model_id: str) -> str:
    return model_id.lstrip("@").partition("/")[0]
