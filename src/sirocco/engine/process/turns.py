"""Whose request is read now: a few of each account at once, the first to come first.

To read a request takes an event loop a thousand times as long as to hear of it. When one account
sends hundreds in a second and there is room for them, all would be begun, and a request of another
account would stand behind all of them. So it stands behind a few.
"""

import asyncio
from collections import Counter

N_AT_ONCE = 2

TURN_S = 0.1
"""A turn ends after this in any case: who takes longer waits for a client's body, not for us."""


class Turns:
    """Turns of the requests that an engine expects; use it in one event loop."""

    def __init__(self, n_at_once: int = N_AT_ONCE, turn_s: float = TURN_S) -> None:
        self._n_at_once, self._turn_s = n_at_once, turn_s
        self._account_of: dict[str, str] = {}  # of those that have their turn
        self._n_having: Counter[str] = Counter()
        self._waiting: dict[str, dict[str, asyncio.Future[None]]] = {}  # account → requests

    async def wait(self, request_id: str, account: str) -> None:
        """Wait for a request's turn. It ends with `leave`, which has to come in any case."""
        if self._n_having[account] < self._n_at_once:
            self._begin(request_id, account)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, {})[request_id] = turn
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.get(account, {}).pop(request_id, None)
            raise

    def leave(self, request_id: str) -> None:
        """End a turn, and let the next of its account have one; again does nothing."""
        account = self._account_of.pop(request_id, None)
        if account is None:
            return
        self._n_having[account] -= 1
        waiting = self._waiting.get(account, {})
        if waiting:
            next_id = next(iter(waiting))
            turn = waiting.pop(next_id)
            self._begin(next_id, account)
            if not turn.done():
                turn.set_result(None)
        if not waiting:
            self._waiting.pop(account, None)
        if not self._n_having[account]:
            del self._n_having[account]

    def _begin(self, request_id: str, account: str) -> None:
        self._account_of[request_id] = account
        self._n_having[account] += 1
        asyncio.get_running_loop().call_later(self._turn_s, self.leave, request_id)
