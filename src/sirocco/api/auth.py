"""Every route's first question: which account, and who is calling? Credentials are a header's.

A route says with one of the annotations below what an API token must be allowed to do. A test
walks all routes and lets through none that says nothing.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from sirocco.api.errors import RoutingError
from sirocco.errors import MalformedCredentials, MissingCredentials
from sirocco.service.access import Access, Caller
from sirocco.store.api_tokens import ApiToken
from sirocco.store.scopes import Scope

_ACCOUNT_ID = re.compile(r"\A[0-9a-f]{32}\Z")

_SCHEME = HTTPBearer(auto_error=False, description="An API token of the account.")
"""For the API's description alone: what is wrong with a header is told in our own words."""

_Described = Annotated[object, Depends(_SCHEME)]


def _caller_with(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    async def caller(request: Request, account_id: str, _described: _Described) -> Caller:
        secret = _bearer(request)
        _require_account_id(request, account_id)
        return await _access(request).caller(secret, account_id, scope)

    return caller


async def _owner(request: Request, _described: _Described) -> Caller:
    return await _access(request).caller(_bearer(request), None, Scope.READ)


async def _anyone(request: Request, _described: _Described) -> Caller:
    return await _access(request).caller(_bearer(request), None, None)


async def _token(request: Request, _described: _Described) -> ApiToken:
    return await _access(request).verified(_bearer(request))


async def _token_of_account(request: Request, account_id: str, _described: _Described) -> ApiToken:
    secret = _bearer(request)
    _require_account_id(request, account_id)
    return await _access(request).verified(secret, account_id)


CallerOfAccount = Annotated[Caller, Depends(_caller_with(Scope.RUN))]
"""Someone who may run models for the account in the path. Raises: AuthError; RoutingError."""

ReaderOfAccount = Annotated[Caller, Depends(_caller_with(Scope.READ))]
"""Someone who may look at what the account in the path has."""

Owner = Annotated[Caller, Depends(_owner)]
"""Someone who may look, where the path names no account."""

Anyone = Annotated[Caller, Depends(_anyone)]
"""Someone with a good API token, whatever it may do."""

TokenItself = Annotated[ApiToken, Depends(_token)]
"""An API token that asks about itself; it needs no scope."""

TokenOfAccount = Annotated[ApiToken, Depends(_token_of_account)]
"""The same, where the path names its account."""


def _access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


def _require_account_id(request: Request, account_id: str) -> None:
    if not _ACCOUNT_ID.match(account_id):
        raise RoutingError(
            404,
            7003,
            f"Could not route to {request.url.path}, perhaps your object identifier is invalid?",
        )


def _bearer(request: Request) -> str:
    return bearer(request.headers.get("authorization"))


def bearer(header: str | None) -> str:
    """Take the API token from an Authorization header. Raises: AuthError."""
    if header is None:
        raise MissingCredentials("no Authorization header")
    scheme, _, secret = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise MalformedCredentials("the Authorization header is not 'Bearer <API token>'")
    return secret.strip()
