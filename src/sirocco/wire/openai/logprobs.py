"""Log-probabilities in OpenAI's two shapes."""

from collections.abc import Callable, Sequence

from sirocco.types import TokenLogprob
from sirocco.wire.envelope import JsonObject

TokenBytes = Callable[[int], bytes]
"""What a token adds to a text."""


def chat_logprobs(entries: Sequence[TokenLogprob], token_bytes: TokenBytes) -> JsonObject:
    """Write them as chat completions do: one object for each token."""
    return {
        "content": [
            {
                **_token(token_bytes(entry.token_id), entry.logprob),
                "top_logprobs": [
                    _token(token_bytes(token_id), logprob) for token_id, logprob in entry.top
                ],
            }
            for entry in entries
        ]
    }


def completion_logprobs(
    entries: Sequence[TokenLogprob], token_bytes: TokenBytes, n_characters_before: int = 0
) -> JsonObject:
    """Write them as completions do: lists beside each other.

    Args:
        n_characters_before: of the text, before the first of these tokens.
    """
    texts = [_text(token_bytes(entry.token_id)) for entry in entries]
    offsets, offset = [], n_characters_before
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [
            {_text(token_bytes(token_id)): logprob for token_id, logprob in entry.top}
            for entry in entries
        ],
        "text_offset": offsets,
    }


def _token(data: bytes, logprob: float) -> JsonObject:
    return {"token": _text(data), "logprob": logprob, "bytes": list(data)}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
