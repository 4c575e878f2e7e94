"""Who is calling, and whether they may do what they ask for with the account they name."""

import asyncio
from dataclasses import dataclass

from sirocco.errors import InvalidApiToken, JunkCredentials, MissingScope, WrongCredentials
from sirocco.store.api_tokens import SECRET_FORMAT, ApiToken, ApiTokens
from sirocco.store.limits import NO_OWN_LIMITS, Limits
from sirocco.store.scopes import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who proved to hold an API token of an account.

    Attributes:
        weight: share of the account beside others that use the same engine.
        limits: how much the account may use; see `Quota`.
    """

    account_id: str
    api_token_id: str
    weight: float = 1.0
    limits: Limits = NO_OWN_LIMITS


class Access:
    """Checks credentials against the API tokens in the database."""

    def __init__(self, api_tokens: ApiTokens) -> None:
        self._api_tokens = api_tokens

    async def caller(self, secret: str, account_id: str | None, scope: Scope | None) -> Caller:
        """Recognise an API token that belongs to the account and has the scope.

        Args:
            account_id: None takes the API token's own.
            scope: None is for what every API token may.

        Raises: JunkCredentials if it does not look like one; WrongCredentials if it is unknown,
            expired, revoked, or another account's: which of these is not told; MissingScope.
        """
        token = await self._found(secret)
        if token is None or account_id not in (None, token.account_id):
            raise WrongCredentials("no API token of this account")
        if scope is not None and scope not in token.scopes:
            raise MissingScope(f"the API token {token.id} does not have the scope {scope}")
        return Caller(token.account_id, token.id, token.account_weight, token.account_limits)

    async def verified(self, secret: str, account_id: str | None = None) -> ApiToken:
        """Tell an API token of itself.

        Raises: JunkCredentials; InvalidApiToken if it is not good, or not the account's.
        """
        token = await self._found(secret)
        if token is None or account_id not in (None, token.account_id):
            raise InvalidApiToken("no API token that is good here")
        return token

    async def _found(self, secret: str) -> ApiToken | None:
        if not SECRET_FORMAT.match(secret):
            raise JunkCredentials("an API token has 40 characters of A-Z a-z 0-9 _ -")
        if self._api_tokens.is_local:  # a look into a file is done before a thread has begun
            return self._api_tokens.verify(secret)
        return await asyncio.to_thread(self._api_tokens.verify, secret)
