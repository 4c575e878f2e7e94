"""Who am I? What clients and `wrangler whoami` ask before they do anything.

An API token sees its own account and no other.
"""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.auth import Anyone, Owner, ReaderOfAccount, TokenItself, TokenOfAccount
from sirocco.api.document import LOOKING, SEARCHING, VERIFYING, answers
from sirocco.errors import InvalidInput, MissingScope
from sirocco.service.directory import Directory
from sirocco.store.accounts import Account
from sirocco.store.api_tokens import ApiToken
from sirocco.wire.answers import AccountShown, Membership, Page, Success, User, Verified
from sirocco.wire.envelope import page_of, success

router = APIRouter()

_NO_SCOPE = tuple(error for error in LOOKING if error is not MissingScope)
_NUMBER = {"type": "integer", "minimum": 1, "maximum": 999_999}
_PAGES = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": _NUMBER}
        for name in ("page", "per_page")
    ]
}
_VALID = {"code": 10000, "message": "This API Token is valid and active", "type": None}


@router.get(
    "/user/tokens/verify",
    summary="Is this API token good?",
    responses=answers(Success[Verified], VERIFYING, of_account=False),
)
async def verify(token: TokenItself) -> Response:
    """Answer an API token that it is good, or 401."""
    return _verified(token)


@router.get(
    "/accounts/{account_id}/tokens/verify",
    summary="Is this API token the account's?",
    responses=answers(Success[Verified], VERIFYING),
)
async def verify_of_account(token: TokenOfAccount) -> Response:
    """Answer an API token that it is good and belongs to the account, or 401."""
    return _verified(token)


@router.get(
    "/user",
    summary="Who holds this API token",
    responses=answers(Success[User], _NO_SCOPE, of_account=False),
)
async def user(request: Request, caller: Anyone) -> Response:
    """Name the API token's account in the place of a person: there are no persons here."""
    account = await _directory(request).account(caller.account_id)
    return JSONResponse(success({"id": account.id, "email": None, "username": account.name}))


@router.get(
    "/accounts",
    summary="The accounts of this API token",
    openapi_extra=_PAGES,
    responses=answers(Page[AccountShown], SEARCHING, of_account=False),
)
async def accounts(request: Request, owner: Owner) -> Response:
    """List the one account that this API token belongs to; `page` and `per_page` are heard."""
    page, per_page = _number(request, "page", 1), _number(request, "per_page", 20)
    account = await _directory(request).account(owner.account_id)
    return JSONResponse(page_of([_shown(account)], page=page, per_page=per_page))


@router.get(
    "/memberships",
    summary="Where the holder of this API token belongs",
    openapi_extra=_PAGES,
    responses=answers(Page[Membership], SEARCHING, of_account=False),
)
async def memberships(request: Request, owner: Owner) -> Response:
    """List the one account once more: wrangler takes an account only if it is in both lists."""
    page, per_page = _number(request, "page", 1), _number(request, "per_page", 20)
    account = await _directory(request).account(owner.account_id)
    membership = {
        "id": account.id,
        "status": "accepted",
        "account": _shown(account),
        "roles": [],  # there are no persons, so there are none
    }
    return JSONResponse(page_of([membership], page=page, per_page=per_page))


@router.get(
    "/accounts/{account_id}",
    summary="An account",
    responses=answers(Success[AccountShown], LOOKING),
)
async def account(request: Request, owner: ReaderOfAccount) -> Response:
    """Show the account."""
    return JSONResponse(success(_shown(await _directory(request).account(owner.account_id))))


def _directory(request: Request) -> Directory:
    directory: Directory = request.app.state.directory
    return directory


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and int(text) >= 1):
        raise InvalidInput(f"'{name}' must be in 1 … 999999, got {text[:32]!r}")
    return int(text)


def _verified(token: ApiToken) -> Response:
    result: dict[str, Any] = {"id": token.id, "status": "active"}
    if token.expires_at is not None:
        result["expires_on"] = token.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return JSONResponse(success(result, messages=[_VALID]))


def _shown(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "type": "standard",
        "settings": {"enforce_twofactor": False},
        "created_on": account.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
