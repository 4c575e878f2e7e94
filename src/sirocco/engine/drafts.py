"""Guesses of what comes next, taken from the text itself: speculative decoding without a model.

Answers repeat their prompt: names, code, quotations. What followed the last three tokens when
they stood together before is a guess of what follows now. A step that runs the guess beside the
known token costs little more on a CPU, where a step waits for the weights; and since the model
is asked for every position anyway, the answer is the same with and without guesses.

Source: Leviathan 2023 §2 (running guesses at once); Saxena 2023, "Prompt Lookup Decoding".
"""

from collections.abc import Sequence

_N_MATCHED = 3
"""Tokens that must have stood together before."""

_LONGEST_PAUSE = 64


class PromptLookup:
    """The guesses for one sequence; wrong ones make it pause, longer each time."""

    def __init__(self) -> None:
        self._followers: dict[tuple[int, ...], int] = {}  # three tokens → the position after them
        self._n_indexed = 0
        self._pause = 0  # steps for which nothing is guessed
        self._next_pause = 1

    def guess(self, token_ids: Sequence[int], limit: int) -> tuple[int, ...]:
        """Guess at most `limit` tokens that follow; nothing if the end was never seen before."""
        if self._pause > 0:
            self._pause -= 1
            return ()
        self._index(token_ids)
        at = self._followers.get(tuple(token_ids[-_N_MATCHED:]))
        if at is None:
            return ()
        # A guess that reaches the end of the text goes on with itself: what turns in a circle
        # is guessed to go on turning.
        guessed = list(token_ids[at : at + limit])
        while len(guessed) < limit:
            guessed.append(guessed[at + len(guessed) - len(token_ids)])
        return tuple(guessed)

    def learn(self, n_guessed: int, n_right: int) -> None:
        """Take note of how many of the tokens that were guessed came true."""
        if n_guessed == 0:
            return
        if n_right > 0:
            self._next_pause = 1
            return
        self._pause = self._next_pause
        self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE)

    def _index(self, token_ids: Sequence[int]) -> None:
        """Note what follows each three tokens; the last three have no follower yet."""
        for end in range(max(self._n_indexed, _N_MATCHED), len(token_ids)):
            self._followers[tuple(token_ids[end - _N_MATCHED : end])] = end
        self._n_indexed = max(self._n_indexed, len(token_ids))
