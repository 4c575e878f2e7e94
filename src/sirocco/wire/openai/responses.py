"""Responses, the newest of OpenAI's shapes, as far as they are text."""

import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from sirocco.errors import InvalidInput
from sirocco.types import Message, SamplingParams
from sirocco.wire.envelope import JsonObject
from sirocco.wire.messages import Messages, conversation
from sirocco.wire.openai.generation import Generation, read
from sirocco.wire.strict import Integer
from sirocco.wire.text_generation import DEFAULT_MAX_TOKENS

REFUSED: Mapping[str, tuple[Any, ...]] = {
    "tools": ([],),
    "previous_response_id": (),
    "conversation": (),
    "background": (False,),
    "include": ([],),
    "reasoning": ({},),
    "tool_choice": ("auto", "none"),
    "text": ({}, {"format": {"type": "text"}}),
}


class Response(Generation):
    """The body of `POST …/ai/v1/responses`."""

    input: Annotated[
        Annotated[str, Field(min_length=1), Tag("<text>")] | Annotated[Messages, Tag("<turns>")],
        Discriminator(lambda value: "<turns>" if isinstance(value, list) else "<text>"),
    ]
    instructions: str = ""
    max_output_tokens: Annotated[Integer, Field(ge=1)] = DEFAULT_MAX_TOKENS

    @property
    def messages(self) -> tuple[Message, ...]:
        """Instructions and turns, in the engine's words."""
        told = (Message("system", self.instructions),) if self.instructions else ()
        if isinstance(self.input, str):
            return (*told, Message("user", self.input))
        return (*told, *conversation(self.input))

    @property
    def in_engines_words(self) -> SamplingParams:
        """The sampling fields. Raises: InvalidInput."""
        return self.sampling(self.max_output_tokens)


def read_response(members: Mapping[str, Any]) -> Response:
    """Check a body. Raises: InvalidInput naming what is wrong."""
    inputs = read(Response, members, REFUSED)
    if inputs.n != 1:
        raise InvalidInput(f"'/n' must be <= 1, got {inputs.n}")
    return inputs


class Events:
    """Writes one response: whole, or as the events of its growth, which are numbered."""

    def __init__(self, request_id: str, asked: Response) -> None:
        self._id, self._asked = request_id, asked
        self._created_at = int(time.time())
        self._number = -1

    def begin(self) -> Iterator[tuple[str, JsonObject]]:
        """Say that there is a response with one message of one text."""
        for name in ("response.created", "response.in_progress"):
            yield self._event(name, response=self._response("in_progress", []))
        yield self._event("response.output_item.added", output_index=0,
                          item=self._item("in_progress", []))  # fmt: skip
        yield self._of_text("response.content_part.added", part=_part(""))

    def text(self, text: str, padding: str) -> tuple[str, JsonObject]:
        """Write a piece of its text."""
        return self._of_text("response.output_text.delta", delta=text, logprobs=[],
                             obfuscation=padding)  # fmt: skip

    def end(self, text: str, reason: str, counts: JsonObject) -> Iterator[tuple[str, JsonObject]]:
        """Close the text, the message, and the response."""
        yield self._of_text("response.output_text.done", text=text, logprobs=[])
        yield self._of_text("response.content_part.done", part=_part(text))
        yield self._event("response.output_item.done", output_index=0,
                          item=self._item("completed", [_part(text)]))  # fmt: skip
        whole = self.whole(text, reason, counts)
        yield self._event(f"response.{whole['status']}", response=whole)

    def whole(self, text: str, reason: str, counts: JsonObject) -> JsonObject:
        """Write the whole response."""
        status = "incomplete" if reason == "length" else "completed"
        details = {"reason": "max_output_tokens"} if reason == "length" else None
        usage = {
            "input_tokens": counts["prompt_tokens"],
            "input_tokens_details": counts["prompt_tokens_details"],
            "output_tokens": counts["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": counts["total_tokens"],
        }
        if "neurons" in counts:
            usage["neurons"] = counts["neurons"]
        output = [self._item("completed", [_part(text)])]
        written = self._response(status, output)
        return {**written, "incomplete_details": details, "usage": usage}

    def _response(self, status: str, output: list[JsonObject]) -> JsonObject:
        return {
            "id": f"resp_{self._id}", "object": "response", "created_at": self._created_at,
            "status": status, "error": None, "incomplete_details": None,
            "instructions": self._asked.instructions or None,
            "max_output_tokens": self._asked.max_output_tokens,
            "metadata": {}, "model": self._asked.model, "output": output,
            "parallel_tool_calls": False, "temperature": self._asked.temperature,
            "tool_choice": "none", "tools": [], "top_p": self._asked.top_p, "usage": None,
        }  # fmt: skip

    def _item(self, status: str, content: list[JsonObject]) -> JsonObject:
        return {"id": f"msg_{self._id}", "type": "message", "status": status, "role": "assistant",
                "content": content}  # fmt: skip

    def _of_text(self, name: str, **members: object) -> tuple[str, JsonObject]:
        return self._event(
            name, item_id=f"msg_{self._id}", output_index=0, content_index=0, **members
        )

    def _event(self, name: str, **members: object) -> tuple[str, JsonObject]:
        self._number += 1
        return name, {"type": name, "sequence_number": self._number, **members}


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
