"""Who is calling, and whether they may do what they ask for with the account they name."""

import asyncio
import time
from collections.abc import Callable
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


RECENT_S = 1.0
"""How long an API token is remembered that was found good."""

_MOST_RECENT = 4096


class Access:
    """Checks credentials against the API tokens in the database.

    Args:
        clock: gives seconds that never go back.
    """

    def __init__(
        self, api_tokens: ApiTokens, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api_tokens = api_tokens
        self._clock = clock
        self._recent: dict[str, tuple[float, ApiToken]] = {}  # the longest known first

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
        return _caller(token)

    def recent_caller(self, secret: str, account_id: str, scope: Scope) -> Caller | None:
        """Recognise someone whose API token was found good within the last second.

        No database is asked, so it may have been revoked since: enough to refuse, not to serve.
        """
        if not SECRET_FORMAT.match(secret):
            return None
        found_s, token = self._recent.get(self._api_tokens.digest(secret), (0.0, None))
        if token is None or self._clock() - found_s > RECENT_S:
            return None
        if token.account_id != account_id or scope not in token.scopes:
            return None
        return _caller(token)

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
            token = self._api_tokens.verify(secret)
        else:
            token = await asyncio.to_thread(self._api_tokens.verify, secret)
        self._remember(self._api_tokens.digest(secret), token)
        return token

    def _remember(self, digest: str, token: ApiToken | None) -> None:
        """Keep the API tokens that were found last, and none that was found bad."""
        self._recent.pop(digest, None)
        if token is not None:
            self._recent[digest] = self._clock(), token
        if len(self._recent) > _MOST_RECENT:
            del self._recent[next(iter(self._recent))]


def _caller(token: ApiToken) -> Caller:
    return Caller(token.account_id, token.id, token.account_weight, token.account_limits)
