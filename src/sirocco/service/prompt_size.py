"""Prompts that cannot fit a model, known by their length alone: nobody tokenises a megabyte."""

from sirocco.errors import PromptTooLong
from sirocco.tokenizer import Tokenizer


def longest_token(tokenizer: Tokenizer) -> int:
    """Return the bytes of the longest token of a vocabulary; it looks at all of them."""
    written = map(tokenizer.token_bytes, range(tokenizer.vocab_size))
    return max((len(token) for token in written if token is not None), default=1) or 1


def fewest_tokens(n_characters: int, longest_token_bytes: int) -> int:
    """Return how many tokens a text has at least: a character has one byte or more."""
    return -(-n_characters // longest_token_bytes)


def check_prompt_size(
    n_characters: int, longest_token_bytes: int, *, max_tokens: int, limit_tokens: int
) -> None:
    """Refuse a text that even the longest tokens could not write within the limit.

    Raises: PromptTooLong, with the fewest tokens that it could be.
    """
    n_tokens = fewest_tokens(n_characters, longest_token_bytes)
    if n_tokens >= limit_tokens:
        raise PromptTooLong(n_tokens, max_tokens, limit_tokens)
