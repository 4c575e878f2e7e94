"""What penalties look back at: the tokens of an answer so far, counted once and kept."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class TokenCounts:
    """The different tokens of prompt and output, and how often each stands in the output.

    Attributes:
        n_tokens: how many were counted.
    """

    def __init__(self, token_ids: Sequence[int] = (), n_prompt_tokens: int = 0) -> None:
        self.n_tokens = len(token_ids)
        self._ids = array("q", dict.fromkeys(token_ids))  # each once, in order of appearance
        self._places = {token_id: place for place, token_id in enumerate(self._ids)}
        self._n_in_output = array("q", bytes(8 * len(self._ids)))
        for token_id, n_times in Counter(token_ids[n_prompt_tokens:]).items():
            self._n_in_output[self._places[token_id]] = n_times

    def __len__(self) -> int:
        """How many different tokens there are."""
        return len(self._ids)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The token ids, each once, in no particular order; a copy."""
        return np.array(self._ids, dtype=np.int64)

    @property
    def n_in_output(self) -> NDArray[np.int64]:
        """How often each of `ids` stands in the output; a copy."""
        return np.array(self._n_in_output, dtype=np.int64)

    def append(self, token_id: int) -> None:
        """Count one more token of the output."""
        self.n_tokens += 1
        place = self._places.setdefault(token_id, len(self._ids))
        if place == len(self._ids):
            self._ids.append(token_id)
            self._n_in_output.append(0)
        self._n_in_output[place] += 1

    def followed_by(self, token_ids: Iterable[int]) -> "TokenCounts":
        """Make counts with more tokens of the output; these stay as they are."""
        longer = TokenCounts()
        longer.n_tokens = self.n_tokens
        longer._ids, longer._n_in_output = self._ids[:], self._n_in_output[:]
        longer._places = self._places.copy()
        for token_id in token_ids:
            longer.append(token_id)
        return longer
