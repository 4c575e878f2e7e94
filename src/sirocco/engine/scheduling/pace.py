"""How many tokens a step may have, so that nobody waits long for the next one.

While a long prompt is computed, all other answers pause until the step is over, and nothing that
came in meanwhile begins. On a GPU a step of 512 tokens takes milliseconds; a 7B model on two
processor cores computes fifty tokens a second.
"""

FEWEST_TOKENS = 64
"""A step of that many reads the weights once; more of them bring a CPU little (docs/log.md)."""

_MEMORY = 0.7
"""Share of what was known in the new estimate."""


class Pace:
    """Learns from each step how many tokens the next one may have.

    Args:
        target_s: seconds that a step should take at most.
        max_tokens: in a step, whatever its time.
    """

    def __init__(self, target_s: float, max_tokens: int) -> None:
        self._target_s = target_s
        self._max_tokens = max_tokens
        self._tokens_per_s: float | None = None

    @property
    def n_tokens(self) -> int:
        """Tokens for the next step: few at first, since nothing is known."""
        if self._tokens_per_s is None:
            return min(FEWEST_TOKENS, self._max_tokens)
        return min(self._max_tokens, max(FEWEST_TOKENS, int(self._tokens_per_s * self._target_s)))

    def learn(self, n_tokens: int, elapsed_s: float) -> None:
        """Take note of a step. Small ones tell nothing: they wait for memory alone."""
        if n_tokens < min(FEWEST_TOKENS, self._max_tokens) or elapsed_s <= 0.0:
            return
        now = n_tokens / elapsed_s
        before = now if self._tokens_per_s is None else self._tokens_per_s
        self._tokens_per_s = _MEMORY * before + (1.0 - _MEMORY) * now
