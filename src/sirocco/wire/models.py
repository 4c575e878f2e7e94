"""The catalogue's requests and rows, in the public form. All values of properties are texts."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sirocco.errors import InvalidInput
from sirocco.wire.envelope import JsonObject, success
from sirocco.wire.violations import refusal

_TASKS: dict[str, JsonObject] = {
    "text-generation": {
        "id": "c329a1f9-323d-4e91-b2aa-582dd4188d34",
        "name": "Text Generation",
        "description": "Language models that go on with a text, or answer in a conversation.",
    }
}


class ModelsQuery(BaseModel):
    """What a search asks for. Parameters that nobody documents do nothing."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    search: str | None = None
    task: str | None = None
    author: str | None = None
    source: int | None = None
    hide_experimental: bool = False
    include_deprecated: bool = False
    page: Annotated[int, Field(ge=1)] = 1
    per_page: Annotated[int, Field(ge=1)] = 100


def read_models_query(parameters: Mapping[str, str]) -> ModelsQuery:
    """Check a search; an empty value is as good as absent.

    Raises: InvalidInput naming every parameter that is wrong, its value and its limit.
    """
    given = {name: value for name, value in parameters.items() if value}
    if "format" in given:
        raise InvalidInput(f"'/format' {given['format']!r} is not supported")
    try:
        return ModelsQuery.model_validate(given)
    except ValidationError as error:
        raise refusal(error) from error


def task(name: str) -> JsonObject:
    """Write a task."""
    return dict(_TASKS[name])


def author(name: str) -> JsonObject:
    """Write an author."""
    return {"name": name}


def model_row(
    *,
    model_id: str,
    public_id: str | None,
    source: int,
    description: str,
    task_name: str,
    tags: Sequence[str],
    properties: Mapping[str, object],
) -> JsonObject:
    """Write a model.

    Args:
        public_id: None makes a UUID of the model id, always the same one.
        properties: those that are None are left out.
    """
    return {
        "id": public_id or str(uuid.uuid5(uuid.NAMESPACE_URL, model_id)),
        "source": source,
        "name": model_id,
        "description": description,
        "task": task(task_name),
        "created_at": None,  # not known
        "tags": list(tags),
        "properties": [
            {"property_id": name, "value": _shown(value)}
            for name, value in properties.items()
            if value is not None
        ],
    }


def page(rows: Sequence[JsonObject], number: int, per_page: int, n_found: int) -> JsonObject:
    """Wrap a page of rows, and tell where it stands among all that were found."""
    info = {"count": len(rows), "page": number, "per_page": per_page, "total_count": n_found}
    return {**success(list(rows)), "result_info": info}


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
