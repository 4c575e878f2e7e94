"""Tools for models that were never tuned for them: told in words, and held by a grammar.

The models of this family know no tokens for tools. So the tools stand in a system message, as
JSON; calls and results in a conversation become text; and a grammar lets an answer be either free
text or calls whose arguments fulfil the tool's schema.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sirocco.types import Grammar, Message, Tool, ToolCall

_MOST_CALLS = 8
"""In one answer."""

_NAMES_MORE = {
    "additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames",
    "$ref", "allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas",
}  # fmt: skip
"""Keywords of a schema that can say something of members besides `properties`."""

_JSON = json.JSONDecoder()

_TOLD = """You can use these tools:
{tools}
To use a tool, answer with nothing but JSON: {{"name": "...", "arguments": {{...}}}}; to use \
several, with an array of these. Otherwise answer in plain text."""


@dataclass(frozen=True, slots=True)
class CallsRead:
    """The calls in an answer.

    Attributes:
        is_cut_off: the answer ended before they did, and what was left of the last one is lost.
    """

    calls: tuple[ToolCall, ...] = ()
    is_cut_off: bool = False


def with_tools(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """Return the conversation in words alone: tools told first, calls and results as text."""
    plain = [_in_words(message) for message in messages]
    if not tools:
        return plain
    told = _TOLD.format(tools="\n".join(map(_described, tools)))
    if plain and plain[0].role == "system":
        told = f"{plain[0].content}\n\n{told}"
        plain = plain[1:]
    return [Message("system", told), *plain]


def tool_grammar(
    tools: Sequence[Tool], *, must_call: bool, only: str | None = None, several: bool = True
) -> Grammar:
    """Let an answer be text or calls; or calls alone.

    Args:
        must_call: no text.
        only: the one tool that may be called; None is any of them.
        several: more than one call in an answer.
    """
    wanted = [tool for tool in tools if only in (None, tool.name)]
    # Blanks are left to nobody: a small model likes to write them for ever.
    call = json.dumps({
        "x-guidance": {"whitespace_flexible": False},
        "anyOf": [_call_schema(tool) for tool in wanted],
    })  # fmt: skip
    rules = [
        f"start: {'calls' if must_call else 'TEXT | calls'}",
        f'calls: call | "[" call ("," call){{0,{_MOST_CALLS - 1}}} "]"'
        if several
        else "calls: call",
        f"call: %json {call}",
    ]
    if not must_call:
        rules.append(r"TEXT: /([^{\[](.|\n)*)?/")
    return Grammar("lark", "\n".join(rules) + "\n", field="tools")


def read_tool_calls(text: str) -> CallsRead:
    """Find the calls in an answer that kept to `tool_grammar`.

    One that was cut off has those calls that were whole by then; what had begun is left out, and so
    is whatever does not keep to the grammar, with all that follows it.
    """
    if not begins_call(text):
        return CallsRead()
    is_list = text[0] == "["
    calls: list[ToolCall] = []
    at = int(is_list)
    while True:
        try:
            value, at = _JSON.raw_decode(text, at)
            calls.append(_call(value))
        except (ValueError, RecursionError, KeyError, TypeError):
            return CallsRead(tuple(calls), is_cut_off=True)
        if not is_list or text[at : at + 1] == "]":
            return CallsRead(tuple(calls))
        if text[at : at + 1] != ",":
            return CallsRead(tuple(calls), is_cut_off=True)
        at += 1


def begins_call(text: str) -> bool:
    """Tell from its beginning whether an answer that kept to `tool_grammar` is calls."""
    return text[:1] in ("{", "[")


def _call(value: Any) -> ToolCall:
    return ToolCall(value["name"], json.dumps(value["arguments"], ensure_ascii=False))


def _described(tool: Tool) -> str:
    described = {"name": tool.name, "description": tool.description}
    return json.dumps(described | {"parameters": json.loads(tool.parameters)}, ensure_ascii=False)


def _call_schema(tool: Tool) -> dict[str, object]:
    arguments = _closed(json.loads(tool.parameters))
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _closed(parameters: dict[str, Any]) -> dict[str, Any]:
    """Leave no argument that the schema does not name, unless it says that there may be others.

    JSON Schema allows them, but functions take none, and a small model makes them up for ever.
    """
    if not parameters.get("properties") or _NAMES_MORE & parameters.keys():
        return parameters
    return {**parameters, "additionalProperties": False}


def _in_words(message: Message) -> Message:
    if message.role == "tool":
        named = f" of {message.tool_name}" if message.tool_name else ""
        return Message("user", f"Result{named}: {message.content}")
    if not message.tool_calls:
        return message
    calls = [_call_in_words(call) for call in message.tool_calls]
    text = calls[0] if len(calls) == 1 else f"[{', '.join(calls)}]"
    return replace(message, content=text, tool_calls=())


def _call_in_words(call: ToolCall) -> str:
    return f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments or "{}"}}}'
