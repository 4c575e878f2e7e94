"""Looking inside: the bodies of `POST …/ai/inspect/{model}` and of its kin. All of it is ours."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from sirocco.types import Message
from sirocco.wire.body import without_nulls
from sirocco.wire.envelope import JsonObject
from sirocco.wire.messages import Messages, conversation
from sirocco.wire.strict import Integer, Strict
from sirocco.wire.text_generation import require_one_subject
from sirocco.wire.violations import refusal

Indices = Annotated[list[Annotated[Integer, Field(ge=0)]], Field(max_length=1024)]


class InspectionBody(Strict):
    """A text, and what is to be told of the network's work on it."""

    prompt: Annotated[str, Field(min_length=1)] | None = None
    messages: Messages | None = None
    raw: Annotated[bool, Field(strict=False)] = False
    answer: str = ""
    layers: Indices | None = None
    heads: Indices | None = None
    alternatives: Annotated[Integer, Field(ge=0, le=20)] = 5
    encoding: Literal["uint8", "float16"] = "uint8"

    @property
    def subject(self) -> str | tuple[Message, ...]:
        """The prompt, or the conversation."""
        if self.prompt is not None:
            return self.prompt
        return conversation(self.messages or ())


def read_inspection(members: Mapping[str, Any]) -> InspectionBody:
    """Check a body; null is as good as absent.

    Raises: InvalidInput naming every field that is wrong, its value and its limit.
    """
    members = without_nulls(members)
    require_one_subject(members)
    try:
        return InspectionBody.model_validate(members)
    except ValidationError as error:
        raise refusal(error) from error


def unused_inspection_names(members: Mapping[str, Any]) -> list[str]:
    """Name the members that nothing reads, in their order."""
    return [name for name in members if name not in InspectionBody.model_fields]


@dataclass(frozen=True, slots=True)
class TokenSeen:
    """A token of a text, or one that the model thought of.

    Attributes:
        is_control: it has no text of its own; `text` is how it is written.
        probability: that the model gave it, here; None where nothing comes before.
        alternatives: what the model found likeliest in its place.
    """

    token_id: int
    text: str
    is_control: bool = False
    probability: float | None = None
    alternatives: Sequence["TokenSeen"] = ()

    def written(self) -> JsonObject:
        """Write it without what it does not have."""
        row: JsonObject = {"id": self.token_id, "text": self.text}
        if self.is_control:
            row["control"] = True
        if self.probability is not None:
            row["probability"] = round(self.probability, 6)
        if self.alternatives:
            row["alternatives"] = [other.written() for other in self.alternatives]
        return row


def attention_written(
    maps: bytes, encoding: str, layers: Sequence[int], heads: Sequence[int], n_tokens: int
) -> JsonObject:
    """Write attention maps [layers, heads, S, S] as base64 of their values, the last index fastest.

    float16 is little-endian.
    """
    return {
        "layers": list(layers),
        "heads": list(heads),
        "shape": [len(layers), len(heads), n_tokens, n_tokens],
        "encoding": encoding,
        "data": base64.b64encode(maps).decode("ascii"),
    }
