"""Who is calling, and whether they may use the account they name."""

import asyncio
from dataclasses import dataclass

from sirocco.errors import JunkCredentials, WrongCredentials
from sirocco.store.api_tokens import SECRET_FORMAT, ApiTokens


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who proved to hold an API token of an account.

    Attributes:
        weight: share of the account beside others that use the same engine.
    """

    account_id: str
    api_token_id: str
    weight: float = 1.0


class Access:
    """Checks credentials against the API tokens in the database."""

    def __init__(self, api_tokens: ApiTokens) -> None:
        self._api_tokens = api_tokens

    async def caller(self, secret: str, account_id: str) -> Caller:
        """Recognise an API token that belongs to the account.

        Raises: JunkCredentials if it does not look like one; WrongCredentials if it is unknown,
            expired, revoked, or another account's: which of these is not told.
        """
        if not SECRET_FORMAT.match(secret):
            raise JunkCredentials("an API token has 40 characters of A-Z a-z 0-9 _ -")
        token = await asyncio.to_thread(self._api_tokens.verify, secret)
        if token is None or token.account_id != account_id:
            raise WrongCredentials("no API token of this account")
        return Caller(token.account_id, token.id, token.account_weight)
