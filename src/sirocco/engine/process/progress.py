"""How far a checkpoint is loaded, said in the log now and then. It imports no torch."""

import time
from collections.abc import Callable


class LoadingProgress:
    """Says every few seconds how much is loaded; of a load that is quick, nothing.

    Args:
        say: called with the words and the numbers of a log line.
        clock: seconds.
    """

    def __init__(
        self,
        say: Callable[..., object],
        *,
        every_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._every_s, self._clock = say, every_s, clock
        self._began_s: float | None = None
        self._said_s = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Take note of bytes that are loaded, and of bytes in all."""
        now_s = self._clock()
        if self._began_s is None:  # before that torch was imported, and ranks found each other
            self._began_s = self._said_s = now_s
            return
        if now_s - self._said_s < self._every_s:
            return
        self._said_s = now_s
        self._say(
            "loading weights",
            percent=100 * done // max(1, total),
            gib=round(done / 2**30, 2),
            gib_per_s=round(done / 2**30 / (now_s - self._began_s), 2),
        )
