"""Chat completions: what is asked, and what is answered, whole and in chunks."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from sirocco.errors import InvalidInput
from sirocco.types import Message, SamplingParams, ToolCall
from sirocco.wire.envelope import JsonObject
from sirocco.wire.messages import Messages, conversation
from sirocco.wire.openai.generation import Generation, head, read
from sirocco.wire.response_format import ResponseFormat, grammar_of
from sirocco.wire.strict import Integer
from sirocco.wire.text_generation import DEFAULT_MAX_TOKENS
from sirocco.wire.tools import ToolUse, openai_calls

REFUSED: Mapping[str, tuple[Any, ...]] = {
    "functions": ([],),
    "function_call": ("none", "auto"),
    "audio": (),
    "modalities": (["text"],),
    "prediction": (),
    "web_search_options": (),
}
"""Documented members that ask for more than text, and values of them that do not."""


class ChatCompletion(Generation, ToolUse):
    """The body of `POST …/ai/v1/chat/completions`."""

    messages: Messages
    max_tokens: Annotated[Integer, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[Integer, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[Integer, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The turns in the engine's words."""
        return conversation(self.messages)

    @property
    def in_engines_words(self) -> SamplingParams:
        """The sampling fields. Raises: InvalidInput."""
        return self.sampling(
            self.max_completion_tokens or self.max_tokens or DEFAULT_MAX_TOKENS,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            grammar=grammar_of(self.response_format),
        )


def read_chat_completion(members: Mapping[str, Any]) -> ChatCompletion:
    """Check a body. Raises: InvalidInput naming what is wrong."""
    inputs = read(ChatCompletion, members, REFUSED)
    if inputs.top_logprobs is not None and not inputs.logprobs:
        raise InvalidInput("'/top_logprobs' needs '/logprobs' to be true")
    if inputs.offered and grammar_of(inputs.response_format) is not None:
        raise InvalidInput("'/tools' and '/response_format' exclude each other")
    return inputs


def completion(
    request_id: str, model: str, choices: Sequence[JsonObject], counts: JsonObject
) -> JsonObject:
    """Write a whole answer."""
    begun = head("chatcmpl", request_id, "chat.completion", model)
    return {**begun, "choices": list(choices), "usage": counts}


def choice(
    index: int, text: str, calls: Sequence[ToolCall], reason: str, logprobs: JsonObject | None
) -> JsonObject:
    """Write one of the answers of a whole one."""
    message: JsonObject = {"role": "assistant", "content": None if calls else text}
    if calls:
        message["tool_calls"] = openai_calls(calls)
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": reason,
    }


class Chunks:
    """Writes the chunks of one stream; all of them begin alike."""

    def __init__(self, request_id: str, model: str) -> None:
        self._head = head("chatcmpl", request_id, "chat.completion.chunk", model)

    def first(self, index: int) -> JsonObject:
        """Say who speaks."""
        return self._chunk(index, {"role": "assistant", "content": ""})

    def text(self, index: int, text: str, logprobs: JsonObject | None, padding: str) -> JsonObject:
        """Write a piece of text."""
        return {**self._chunk(index, {"content": text}, logprobs=logprobs), "p": padding}

    def calls(self, index: int, calls: Sequence[ToolCall], padding: str) -> JsonObject:
        """Write the tools that are called: all of them in one piece."""
        written = [{"index": i, **call} for i, call in enumerate(openai_calls(calls))]
        return {**self._chunk(index, {"tool_calls": written}), "p": padding}

    def end(self, index: int, reason: str) -> JsonObject:
        """Say why an answer ended."""
        return self._chunk(index, {}, reason=reason)

    def usage(self, counts: JsonObject) -> JsonObject:
        """Write the counts, after all answers."""
        return {**self._head, "choices": [], "usage": counts}

    def _chunk(
        self, index: int, delta: JsonObject, *, logprobs: JsonObject | None = None,
        reason: str | None = None,
    ) -> JsonObject:  # fmt: skip
        one = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return {**self._head, "choices": [one]}
