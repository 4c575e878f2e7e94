"""What an account may know of itself."""

import asyncio
from datetime import datetime

from sirocco.errors import WrongCredentials
from sirocco.store.accounts import Account
from sirocco.store.stores import Stores
from sirocco.store.usage_totals import UsageTotal


class Directory:
    """Looks things up without holding up the event loop."""

    def __init__(self, stores: Stores) -> None:
        self._accounts = stores.accounts
        self._totals = stores.usage_totals

    async def account(self, account_id: str) -> Account:
        """Return the account. Raises: WrongCredentials if it went since it proved itself."""
        account = await asyncio.to_thread(self._accounts.find, account_id)
        if account is None:
            raise WrongCredentials("the account is gone")
        return account

    async def usage(
        self, account_id: str, by: str, since: datetime | None, until: datetime | None
    ) -> list[UsageTotal]:
        """Add up what the account used. Raises: InvalidInput."""
        return await asyncio.to_thread(
            self._totals.by, by, account_id=account_id, since=since, until=until
        )
