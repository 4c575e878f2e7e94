"""When an engine counts as dead although its process is there. It measures, and asks no clock."""


class EngineWatch:
    """Counts how long an engine is silent, and how long a step takes.

    Only time in which our own event loop ran is counted: after a process was stopped or starved,
    what the engine said meanwhile lies in the socket and was not read yet.

    Args:
        silence_s: seconds without any message.
        step_timeout_s: seconds in which no step ends although there is work.
        tick_s: seconds between two looks; a look that comes late counts as two of them at most.
    """

    def __init__(self, *, silence_s: float, step_timeout_s: float, tick_s: float) -> None:
        self._silence_s = silence_s
        self._step_timeout_s = step_timeout_s
        self._most_s = 2 * tick_s
        self._n_heard = -1
        self._n_steps = -1
        self._silent_s = 0.0
        self._stuck_s = 0.0

    def look(self, elapsed_s: float, *, n_heard: int, n_steps: int, has_work: bool) -> str | None:
        """Take in what is known `elapsed_s` after the last look.

        Returns: why the engine counts as dead, or None.
        """
        counted_s = min(elapsed_s, self._most_s)
        self._silent_s = 0.0 if n_heard != self._n_heard else self._silent_s + counted_s
        is_moving = n_steps != self._n_steps or not has_work
        self._stuck_s = 0.0 if is_moving else self._stuck_s + counted_s
        self._n_heard, self._n_steps = n_heard, n_steps
        if self._silent_s > self._silence_s:
            return f"it has been silent for {self._silent_s:.1f} s"
        if self._stuck_s > self._step_timeout_s:
            return f"a step has taken more than {self._step_timeout_s:g} s"
        return None
