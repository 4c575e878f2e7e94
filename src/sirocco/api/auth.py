"""Every route's first question: which account, and who is calling? Credentials are a header's."""

import re
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from sirocco.api.errors import RoutingError
from sirocco.errors import MalformedCredentials, MissingCredentials
from sirocco.service.access import Access, Caller

_ACCOUNT_ID = re.compile(r"\A[0-9a-f]{32}\Z")

_SCHEME = HTTPBearer(auto_error=False, description="An API token of the account.")
"""For the API's description alone: what is wrong with a header is told in our own words."""


async def caller(
    request: Request,
    account_id: str,
    _described: Annotated[object, Depends(_SCHEME)],
) -> Caller:
    """Recognise who calls for this account; a dependency of every route of an account.

    Raises: AuthError; RoutingError if the account id cannot be one.
    """
    secret = _bearer(request.headers.get("authorization"))
    if not _ACCOUNT_ID.match(account_id):
        raise RoutingError(
            404,
            7003,
            f"Could not route to {request.url.path}, perhaps your object identifier is invalid?",
        )
    access: Access = request.app.state.access
    return await access.caller(secret, account_id)


CallerOfAccount = Annotated[Caller, Depends(caller)]


def _bearer(header: str | None) -> str:
    if header is None:
        raise MissingCredentials("no Authorization header")
    scheme, _, secret = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise MalformedCredentials("the Authorization header is not 'Bearer <API token>'")
    return secret.strip()
