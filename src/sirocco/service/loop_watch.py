"""How late the event loop is with what is due: what all requests of a server wait for."""

import asyncio
from collections.abc import Callable

_TICK_S = 0.05
"""A stall that is longer than this is always met by a tick."""


class LoopWatch:
    """Asks the running loop for a callback, again and again, and tells by how much each is late.

    Args:
        tell: told the seconds of each.
        tick_s: seconds from one callback to the next.
    """

    def __init__(self, tell: Callable[[float], None], *, tick_s: float = _TICK_S) -> None:
        self._tell, self._tick_s = tell, tick_s
        self._loop = asyncio.get_running_loop()
        self._ask()

    def close(self) -> None:
        """Ask no more."""
        self._handle.cancel()

    def _ask(self) -> None:
        self._due_s = self._loop.time() + self._tick_s
        self._handle = self._loop.call_at(self._due_s, self._tick)

    def _tick(self) -> None:
        self._tell(max(0.0, self._loop.time() - self._due_s))
        self._ask()
