"""JSON Schemas of text generation, from the models that really check and write it."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from sirocco.wire.batch import Batch, Poll
from sirocco.wire.body_schema import QUEUE_REQUEST, body_schema, with_one_subject
from sirocco.wire.envelope import JsonObject
from sirocco.wire.text_generation import TextGeneration

_SUBJECTS = ("prompt", "messages")
_STANDARD = {"ge": "minimum", "le": "maximum"}
_REFUSED = ("lora",)
"""Members that are read only to be refused."""


_OPTIONS = {"anyOf": [{"$ref": "#/$defs/RunOptionsWithQueue"}, {"type": "null"}]}


class TokenCounts(BaseModel):
    """How many tokens went in and came out."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TextResult(BaseModel):
    """An answer that is sent at once."""

    response: str
    tool_calls: list[dict[str, Any]]
    usage: TokenCounts


def input_schema() -> JsonObject:
    """Describe a body: one form with a prompt, and one with messages."""
    whole = _plain(TextGeneration.model_json_schema())
    definitions = whole.pop("$defs")
    fields = {k: v for k, v in whole["properties"].items() if k not in _REFUSED}
    branches = [_branch(fields, subject) for subject in _SUBJECTS]
    return {"type": "object", "oneOf": branches, "$defs": definitions}


def output_schema() -> JsonObject:
    """Describe an answer: an object at once, or a stream of events."""
    whole = _plain(TextResult.model_json_schema())
    definitions = whole.pop("$defs")
    return {
        "oneOf": [
            {**whole, "contentType": "application/json"},
            {"type": "string", "contentType": "text/event-stream", "format": "binary"},
        ],
        "$defs": definitions,
    }


def run_body_schema() -> JsonObject:
    """Describe all that may be sent to a model for the API's description: batches, too."""
    text = with_one_subject(body_schema(TextGeneration))
    definitions = text.pop("$defs")
    options = definitions.pop("RunOptions")
    options["properties"]["queueRequest"] = QUEUE_REQUEST
    definitions["RunOptionsWithQueue"] = options
    text["properties"]["options"] = _OPTIONS
    text["properties"]["response_format"]["anyOf"].append({"enum": [[], {}]})  # plain text
    bodies = {"TextGeneration": text}
    for model in (Batch, Poll):
        bodies[model.__name__] = _without_definitions(body_schema(model))
    references = [{"$ref": f"#/$defs/{name}"} for name in bodies]
    return {"anyOf": references, "$defs": definitions | bodies}


def named_body_schema(run_body: JsonObject) -> JsonObject:
    """Describe the same with the model beside it."""
    definitions = run_body["$defs"]
    members = {
        "model": {"type": "string", "description": "a model id"},
        "input": {"anyOf": run_body["anyOf"]},
        "options": _OPTIONS,
    }
    return {"type": "object", "properties": members, "required": ["model", "input"],
            "$defs": definitions}  # fmt: skip


def _without_definitions(schema: JsonObject) -> JsonObject:
    return {name: part for name, part in schema.items() if name != "$defs"}


def _branch(fields: Mapping[str, Any], subject: str) -> JsonObject:
    """Write the form whose subject is this one. A template has no use for `raw` messages."""
    left_out = {*_SUBJECTS} - {subject} | ({"raw"} if subject == "messages" else set())
    properties = {name: schema for name, schema in fields.items() if name not in left_out}
    return {"title": subject.capitalize(), "properties": properties, "required": [subject]}


def _plain(schema: Any) -> Any:
    """Leave out pydantic's titles and its nulls, which only mean "absent", and use plain words."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    branches = schema.get("anyOf", ())
    if {"type": "null"} in branches:
        (real,) = (branch for branch in branches if branch != {"type": "null"})
        rest = {k: v for k, v in schema.items() if k not in ("anyOf", "default")}
        return _plain({**rest, **real})
    return {
        _STANDARD.get(name, name): _plain(part)
        for name, part in schema.items()
        if name != "title" or not isinstance(part, str)
    }
