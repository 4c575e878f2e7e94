"""`GET …/ai/finetunes`: adapters. This version takes none, so there are none to list."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.auth import ReaderOfAccount
from sirocco.api.document import LOOKING, answers
from sirocco.wire.answers import NoAdapters
from sirocco.wire.envelope import success

router = APIRouter(prefix="/accounts/{account_id}/ai/finetunes")

_ANSWERS = answers(NoAdapters, LOOKING)


# Clients write these addresses with and without the last slash.
@router.get("/", include_in_schema=False)
@router.get("", summary="List an account's adapters", responses=_ANSWERS)
async def list_finetunes(caller: ReaderOfAccount) -> Response:  # noqa: ARG001
    """List the adapters of an account: none, in this version."""
    return JSONResponse(success([]))


@router.get("/public/", include_in_schema=False)
@router.get("/public", summary="List public adapters", responses=_ANSWERS)
async def list_public_finetunes(caller: ReaderOfAccount) -> Response:  # noqa: ARG001
    """List the adapters that everyone may use: none, in this version."""
    return JSONResponse(success([]))
