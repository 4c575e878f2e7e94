"""Tools and calls of them, in both shapes that clients send: flat, and OpenAI's with `function`."""

import json
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from sirocco.errors import InvalidInput
from sirocco.types import Tool, ToolCall
from sirocco.wire.envelope import JsonObject
from sirocco.wire.strict import Strict


def _flat(value: object) -> object:
    """Take {"type": "function", "function": {…}} for what is in it."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        return {**value, **value["function"]}
    return value


def _as_json(value: object) -> object:
    """Take an object for its JSON: arguments are written as either."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


class ToolSchema(Strict):
    """A function that the caller can run."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object"})

    @property
    def tool(self) -> Tool:
        """The same in the engine's words."""
        return Tool(self.name, self.description, json.dumps(self.parameters))


class ToolCallSchema(Strict):
    """A call that the assistant has made."""

    name: str
    arguments: Annotated[str, BeforeValidator(_as_json)] = "{}"
    id: str = ""

    @property
    def call(self) -> ToolCall:
        """The same in the engine's words."""
        return ToolCall(self.name, self.arguments, self.id)


class _NamedTool(Strict):
    name: str


AnyTool = Annotated[ToolSchema, BeforeValidator(_flat)]
AnyToolCall = Annotated[ToolCallSchema, BeforeValidator(_flat)]
ToolChoice = Annotated[
    Annotated[Literal["auto", "none", "required", "any"], Tag("<word>")]
    | Annotated[_NamedTool, BeforeValidator(_flat), Tag("<name>")],
    Discriminator(lambda value: "<name>" if isinstance(value, dict) else "<word>"),
]


class ToolUse(Strict):
    """Which tools an answer may call."""

    tools: Annotated[list[AnyTool], Field(max_length=64)] = Field(default_factory=list)
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools that may be called. Raises: InvalidInput for a name that is none of them."""
        names = [tool.name for tool in self.tools]
        if (only := self.only_tool) is not None and only not in names:
            raise InvalidInput(f"'/tool_choice' must be one of '/tools', got {only!r}")
        if len(set(names)) < len(names):
            raise InvalidInput("the names of '/tools' must differ")
        if self.tool_choice == "none":
            return ()
        return tuple(tool.tool for tool in self.tools)

    @property
    def must_call(self) -> bool:
        """Text is no answer."""
        return self.tool_choice in ("required", "any") or self.only_tool is not None

    @property
    def only_tool(self) -> str | None:
        """Name of the one tool that may be called."""
        return self.tool_choice.name if isinstance(self.tool_choice, _NamedTool) else None


def new_call_id() -> str:
    """Make an id for a call, as clients expect one."""
    return f"call_{secrets.token_hex(12)}"


def flat_calls(calls: Sequence[ToolCall]) -> list[JsonObject]:
    """Write calls as Workers AI does: arguments are an object."""
    return [{"name": call.name, "arguments": json.loads(call.arguments)} for call in calls]


def openai_calls(calls: Sequence[ToolCall]) -> list[JsonObject]:
    """Write calls as OpenAI does: arguments are a string of JSON."""
    return [
        {
            "id": call.call_id or new_call_id(),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]
