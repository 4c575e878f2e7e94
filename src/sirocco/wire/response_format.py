"""In which form an answer is wanted: text, any JSON object, or JSON that fulfils a schema."""

import json
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from sirocco.errors import JsonNotMet
from sirocco.types import Grammar
from sirocco.wire.strict import Strict

ANY_OBJECT = {"type": "object"}


class PlainFormat(Strict):
    """Text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Strict):
    """JSON that fulfils a schema: the schema itself, or OpenAI's {name, schema, strict}."""

    type: Literal["json_schema"]
    json_schema: dict[str, Any]

    @property
    def schema_alone(self) -> dict[str, Any]:
        """The schema, without what is around it."""
        inner = self.json_schema.get("schema")
        is_wrapped = isinstance(inner, dict) and not self.json_schema.keys() & _SCHEMA_WORDS
        return inner if is_wrapped and isinstance(inner, dict) else self.json_schema


_SCHEMA_WORDS = {"type", "properties", "anyOf", "oneOf", "allOf", "enum", "const", "$ref", "items"}

ResponseFormat = Annotated[
    Annotated[PlainFormat, Tag("<plain>")] | Annotated[SchemaFormat, Tag("<schema>")],
    Discriminator(
        lambda value: (
            "<schema>"
            if isinstance(value, dict) and value.get("type") == "json_schema"
            else "<plain>"
        )
    ),
]


def grammar_of(
    wanted: PlainFormat | SchemaFormat | None, field: str = "response_format"
) -> Grammar | None:
    """Return the grammar that holds an answer to the form; None for text."""
    if wanted is None or wanted.type == "text":
        return None
    schema = wanted.schema_alone if isinstance(wanted, SchemaFormat) else ANY_OBJECT
    return Grammar("json_schema", json.dumps(schema), field)


def parsed(text: str) -> object:
    """Read an answer that was to be JSON. Raises: JsonNotMet if it was cut off before its end."""
    try:
        return json.loads(text)
    except ValueError:
        raise JsonNotMet("the answer was cut off before it was JSON") from None
