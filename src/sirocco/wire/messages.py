"""The turns of a conversation, as clients send them."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from sirocco.types import Message
from sirocco.wire.body import without_nulls
from sirocco.wire.strict import Strict
from sirocco.wire.tools import AnyToolCall


class TextPart(Strict):
    """A piece of a message that is given as an array."""

    type: Literal["text", "input_text", "output_text"]
    text: str


Content = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[TextPart], Field(fail_fast=True), Tag("<parts>")],
    Discriminator(lambda value: "<parts>" if isinstance(value, list) else "<text>"),
]


class ChatMessage(Strict):
    """One turn. An array of text parts is joined without anything between them."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content
    name: str = ""
    tool_call_id: str = ""


class CallingMessage(Strict):
    """A turn of the assistant in which it calls tools; it need not say anything besides."""

    role: Literal["assistant"]
    tool_calls: Annotated[list[AnyToolCall], Field(min_length=1)]
    content: Content = ""


def _without_nulls(value: object) -> object:
    return without_nulls(value) if isinstance(value, dict) else value


def _kind(value: object) -> str:
    calls = value.get("tool_calls") if isinstance(value, dict) else None
    return "<calls>" if calls else "<says>"


# Of the turns only the first that is wrong is named: there may be millions of them.
Messages = Annotated[
    list[
        Annotated[
            Annotated[ChatMessage, Tag("<says>")] | Annotated[CallingMessage, Tag("<calls>")],
            Discriminator(_kind),
            BeforeValidator(_without_nulls),
        ]
    ],
    Field(min_length=1, fail_fast=True),
]


def conversation(turns: Sequence[ChatMessage | CallingMessage]) -> tuple[Message, ...]:
    """Return the turns in the engine's words; a result is given the name of its tool."""
    names: dict[str, str] = {}
    messages = []
    for turn in turns:
        text = _text(turn.content)
        if isinstance(turn, CallingMessage):
            calls = tuple(call.call for call in turn.tool_calls)
            names |= {call.call_id: call.name for call in calls}
            messages.append(Message("assistant", text, tool_calls=calls))
        elif turn.role == "tool":
            name = turn.name or names.get(turn.tool_call_id, "")
            messages.append(Message("tool", text, tool_name=name))
        else:
            messages.append(Message("system" if turn.role == "developer" else turn.role, text))
    return tuple(messages)


def _text(content: str | list[TextPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
