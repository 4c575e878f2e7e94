"""Answers that keep to a grammar: which tokens may come next, from llguidance.

The library counts what it does and gives up beyond a limit, so that no grammar and no text can
hold up the others for long. Where it gives up, that one answer ends with an error.
"""

from collections import OrderedDict
from collections.abc import Collection

import llguidance
import torch
from llguidance import LLMatcher, LLTokenizer
from torch import Tensor

from sirocco.engine.sampling.grammar_text import LIMITS, compiled, first_line, refused
from sirocco.errors import ModelFault
from sirocco.tokenizer.base import Tokenizer
from sirocco.types import Grammar

_N_KEPT = 8
"""Grammars whose beginnings are kept: to copy one takes a tenth of a millisecond."""


class GrammarState:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def copy(self) -> "GrammarState":
        """Give another answer the same place."""
        return GrammarState(self._matcher.deep_copy())

    def allowed(self) -> Tensor:
        """Tell which tokens may come next: [V] bool; at least one may.

        Raises: ModelFault if the grammar turns out to be too complex for this answer.
        """
        bias = self._matcher.compute_logit_bias()
        if self._matcher.is_error():
            reason = first_line([self._matcher.get_error()])
            raise ModelFault(f"the answer's grammar cannot be followed: {reason}")
        return torch.frombuffer(bytearray(bias), dtype=torch.uint8) != 0

    def accept(self, token_id: int) -> None:
        """Take note of a token that was allowed."""
        self._matcher.consume_token(token_id)


class GrammarCompiler:
    """Grammars over the tokens of one vocabulary; use it in one thread at a time.

    Args:
        vocab_size: of the model; ids without a token are never allowed.
        end_token_ids: they are allowed where the grammar is fulfilled.
    """

    def __init__(
        self, tokenizer: Tokenizer, vocab_size: int, end_token_ids: Collection[int]
    ) -> None:
        self._tokenizer = LLTokenizer(
            llguidance.TokenizerWrapper(_Vocabulary(tokenizer, vocab_size, end_token_ids)),
            n_vocab=vocab_size,
            eos_token=sorted(end_token_ids),
            slices=LLTokenizer.json_slices(),
        )
        self._begun: OrderedDict[Grammar, GrammarState] = OrderedDict()

    def start(self, grammar: Grammar) -> GrammarState:
        """Begin an answer. Raises: InvalidInput if the grammar cannot be used."""
        if grammar not in self._begun:
            self._begun[grammar] = self._start(grammar)
        self._begun.move_to_end(grammar)
        while len(self._begun) > _N_KEPT:
            self._begun.popitem(last=False)
        return self._begun[grammar].copy()

    def _start(self, grammar: Grammar) -> GrammarState:
        matcher = LLMatcher(self._tokenizer, compiled(grammar), limits=LIMITS, log_level=0)
        if matcher.is_error():
            raise refused(grammar, [matcher.get_error()])
        return GrammarState(matcher)


class _Vocabulary:
    """A tokenizer as the library wants it."""

    def __init__(
        self, tokenizer: Tokenizer, vocab_size: int, end_token_ids: Collection[int]
    ) -> None:
        texts = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
        texts += [None] * (vocab_size - len(texts))
        self.special_token_ids = [i for i, text in enumerate(texts) if not text]
        self.tokens = [text or f"<|{i}|>".encode() for i, text in enumerate(texts)]
        self.eos_token_id = min(end_token_ids)
        self.bos_token_id = tokenizer.bos_id
        self._encode = tokenizer.encode

    def __call__(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise TypeError("text is wanted")  # the library tries bytes first
        return self._encode(text)
