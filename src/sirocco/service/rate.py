"""How many requests came in the last minute."""

import time
from collections import defaultdict, deque
from collections.abc import Callable

WINDOW_S = 60.0


class MinuteWindow:
    """Remembers when each of the last minute's requests was let in; refused ones do not count.

    It is exact: in no 60 seconds more than the limit are let in. Use it in one thread.

    Args:
        clock: gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times_s: defaultdict[str, deque[float]] = defaultdict(deque)

    def wait_s(self, account_id: str, limit: int) -> float:
        """Let a request in and return 0, or return the seconds until one would be let in."""
        now_s = self._clock()
        wait_s = self._wait_s(account_id, limit, now_s)
        if not wait_s:
            self._times_s[account_id].append(now_s)
        return wait_s

    def would_wait_s(self, account_id: str, limit: int) -> float:
        """Return what `wait_s` would, and let nothing in."""
        return self._wait_s(account_id, limit, self._clock())

    def _wait_s(self, account_id: str, limit: int, now_s: float) -> float:
        times_s = self._times_s[account_id]
        while times_s and times_s[0] <= now_s - WINDOW_S:
            times_s.popleft()
        if len(times_s) < limit:
            return 0.0
        # Not the oldest: the limit may have been lowered while more were let in.
        return times_s[len(times_s) - limit] + WINDOW_S - now_s
