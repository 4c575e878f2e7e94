"""Grammars as text: what llguidance makes of them, within which limits. It knows no tensors.

Run as a program it is a child that checks grammars for somebody else, a line of JSON each: a
hostile one may take long, take memory, or crash it, and only it.
"""

import json
import resource
import sys
from collections.abc import Collection
from functools import cache

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from sirocco.errors import InvalidInput
from sirocco.types import Grammar

LIMITS = LLParserLimits(
    max_grammar_size=50_000,
    initial_lexer_fuel=500_000,  # 10 ms
    step_lexer_fuel=200_000,  # 14 ms
    step_max_items=20_000,  # 1 ms
    max_lexer_states=20_000,  # 40 MB
    verbose_errors=False,
)

_CHILD_MEMORY_BYTES = 1 << 30

_TRIED_STEPS = 8
"""Bytes of an answer that a grammar is tried out with."""

_END = 256


def compiled(grammar: Grammar) -> str:
    """Translate a grammar into the library's own form. Raises: InvalidInput if it is not JSON."""
    if grammar.kind == "lark":
        return LLMatcher.grammar_from_lark(grammar.text)
    try:
        # Blanks are left to nobody: a small model likes to write them for ever.
        return LLMatcher.grammar_from_json_schema(
            grammar.text, overrides={"whitespace_flexible": False}
        )
    except ValueError as error:
        raise refused(grammar, [error]) from error


READY = "ready\n"
"""The child's first word: what it did before it is not the work of a grammar."""


def check_grammar(grammar: Grammar) -> None:
    """Refuse a grammar that cannot be used. Raises: InvalidInput with the reason.

    An answer is begun as an engine does it, with bytes for tokens: what is too much shows here.
    """
    matcher = LLMatcher(_byte_tokenizer(), compiled(grammar), limits=LIMITS, log_level=0)
    for _ in range(_TRIED_STEPS):
        allowed = b"" if matcher.is_error() else matcher.compute_logit_bias()
        if matcher.is_error():
            raise refused(grammar, [matcher.get_error()])
        first = len(allowed) - len(allowed.lstrip(b"\0"))
        if first >= _END:
            return  # the answer may be over
        matcher.consume_token(first)


def refused(grammar: Grammar, messages: Collection[object]) -> InvalidInput:
    """Say why a grammar cannot be used."""
    return InvalidInput(f"'/{grammar.field}' cannot be used: {first_line(messages)}")


def first_line(messages: Collection[object]) -> str:
    """Cut the library's words to a line."""
    text = " ".join(map(str, messages)).strip() or "no reason was given"
    return text.splitlines()[0][:300]


class _Bytes:
    """A tokenizer as the library wants it, whose tokens are bytes."""

    tokens = (*(bytes([byte]) for byte in range(_END)), b"<end>")
    special_token_ids = (_END,)
    eos_token_id = _END
    bos_token_id = None

    def __call__(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise TypeError("text is wanted")  # the library tries bytes first
        return list(text.encode())


@cache
def _byte_tokenizer() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes()), slices=LLTokenizer.json_slices())


def _check_lines() -> None:
    """Say in a line that all is loaded; then answer each grammar on stdin with a line: null, or
    the reason why it cannot be used.
    """
    _byte_tokenizer()
    sys.stdout.write(READY)
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_AS, (_CHILD_MEMORY_BYTES, _CHILD_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        try:
            check_grammar(Grammar(**json.loads(line)))
            reason = None
        except InvalidInput as error:
            reason = str(error)
        sys.stdout.write(json.dumps(reason) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _check_lines()
