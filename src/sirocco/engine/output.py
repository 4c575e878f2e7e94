"""From tokens to the text a caller sees: whole characters, cut before the first stop string."""

from collections.abc import Sequence

from sirocco.tokenizer.base import Tokenizer
from sirocco.tokenizer.detokenizer import Detokenizer


class OutputText:
    """The text of one answer as it grows.

    What could be the beginning of a stop string is held back until the next tokens decide.

    Attributes:
        is_stopped: a stop string was produced; nothing follows any more.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt_token_ids: Sequence[int], stop: tuple[str, ...]
    ) -> None:
        self._detokenizer = Detokenizer(tokenizer, prompt_token_ids)
        self._stop = stop
        self._held = ""
        self.is_stopped = False

    def add(self, token_id: int) -> str:
        """Take one token; return the text that is now certain."""
        return self._release(self._detokenizer.add(token_id))

    def flush(self) -> str:
        """End the answer; return what was held back."""
        text = self._release(self._detokenizer.flush())
        held, self._held = self._held, ""
        return text + held

    def _release(self, text: str) -> str:
        if self.is_stopped:
            return ""
        self._held += text
        starts = [at for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if starts:
            self.is_stopped = True
            certain, self._held = self._held[: min(starts)], ""
            return certain
        n_held = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        cut = len(self._held) - n_held
        certain, self._held = self._held[:cut], self._held[cut:]
        return certain


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`, but is not the whole of it."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
