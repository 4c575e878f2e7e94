"""Completions of a plain prompt, the older of OpenAI's two shapes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from sirocco.types import SamplingParams
from sirocco.wire.envelope import JsonObject
from sirocco.wire.openai.generation import Generation, head, read
from sirocco.wire.strict import Integer
from sirocco.wire.text_generation import DEFAULT_MAX_TOKENS

REFUSED: Mapping[str, tuple[Any, ...]] = {"best_of": (1,), "echo": (False,), "suffix": ("",)}

_Text = Annotated[str, Field(min_length=1)]


class Completion(Generation):
    """The body of `POST …/ai/v1/completions`: one prompt, which gets no template."""

    prompt: Annotated[
        Annotated[_Text, Tag("<text>")]
        | Annotated[list[_Text], Field(min_length=1, max_length=1), Tag("<list>")],
        Discriminator(lambda value: "<list>" if isinstance(value, list) else "<text>"),
    ]
    max_tokens: Annotated[Integer, Field(ge=1)] = DEFAULT_MAX_TOKENS
    logprobs: Annotated[Integer, Field(ge=0, le=20)] | None = None

    @property
    def text(self) -> str:
        """The prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]

    @property
    def in_engines_words(self) -> SamplingParams:
        """The sampling fields. Raises: InvalidInput."""
        return self.sampling(self.max_tokens, logprobs=self.logprobs)


def read_completion(members: Mapping[str, Any]) -> Completion:
    """Check a body. Raises: InvalidInput naming what is wrong."""
    return read(Completion, members, REFUSED)


def choice(index: int, text: str, reason: str | None, logprobs: JsonObject | None) -> JsonObject:
    """Write one of the answers, or a piece of it."""
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}


def completion(
    request_id: str, model: str, choices: Sequence[JsonObject], counts: JsonObject | None = None
) -> JsonObject:
    """Write a whole answer, or with no counts a chunk of it."""
    begun = head("cmpl", request_id, "text_completion", model)
    written: JsonObject = {**begun, "choices": list(choices)}
    return written if counts is None else {**written, "usage": counts}


def text_chunk(request_id: str, model: str, one: JsonObject, padding: str) -> JsonObject:
    """Write a chunk with a piece of an answer."""
    return {**completion(request_id, model, [one]), "p": padding}
