"""From tokens to text, one token at a time, without showing half a character."""

from collections.abc import Sequence

from sirocco.tokenizer.base import Tokenizer

_UNDECIDED = "\ufffd"
"""What `decode` shows for bytes that are not, or not yet, a character."""

_N_CONTEXT_TOKENS = 8
"""Prompt tokens that are decoded with the output, so that a space between them is seen."""


class Detokenizer:
    """The text of a growing run of tokens.

    The pieces that `add` and `flush` return join to what the tokens decode to in one go, after
    the prompt. Only a short window is decoded for each token, so a token costs the same however
    long the text is: with "Gro" and "uped" shown, the next token is decoded together with "uped".
    The window begins at tokens that have text, since tokenizers drop a space at the start of a
    text, and only there.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_token_ids: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._window = list(prompt_token_ids[-_N_CONTEXT_TOKENS:])
        self._shown = tokenizer.decode(self._window)  # the part of the window's text that is out
        if not self._shown or self._shown.endswith(_UNDECIDED):
            self._window, self._shown = [], ""
        self._n_old = len(self._window)  # the window's tokens whose text is out

    def add(self, token_id: int) -> str:
        """Take one token; return the text that is now whole."""
        self._window.append(token_id)
        text = self._tokenizer.decode(self._window)
        if text.endswith(_UNDECIDED):
            return ""
        return self._show(text)

    def flush(self) -> str:
        """End the text; return what was held back, broken characters as U+FFFD."""
        return self._show(self._tokenizer.decode(self._window))

    def _show(self, text: str) -> str:
        new = text[len(self._shown) :]
        self._shown = text
        if new:
            del self._window[: self._n_old]
            self._n_old = len(self._window)
            self._shown = self._tokenizer.decode(self._window)
        return new
