"""What an account may know of itself."""

import asyncio

from sirocco.errors import WrongCredentials
from sirocco.store.accounts import Account, Accounts


class Directory:
    """Looks accounts up without holding up the event loop."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def account(self, account_id: str) -> Account:
        """Return the account. Raises: WrongCredentials if it went since it proved itself."""
        account = await asyncio.to_thread(self._accounts.find, account_id)
        if account is None:
            raise WrongCredentials("the account is gone")
        return account
