"""What a program asks of a model, whichever way its request came: by path, by body, by binding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sirocco.errors import InvalidInput
from sirocco.wire.body import json_type
from sirocco.wire.envelope import JsonObject
from sirocco.wire.text_generation import unused_names

_TRUTHS: dict[object, bool] = {
    None: False, True: True, False: False, "true": True, "1": True, "false": False, "0": False,
}  # fmt: skip
_READ_OPTIONS = {"rejectIfBusy", "queueRequest"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request to run a model.

    Attributes:
        inputs: the body that the route with the model in its path would get.
        wants_queue: it is meant for the asynchronous queue.
        unused: members and options that nothing reads.
    """

    inputs: JsonObject
    wants_queue: bool
    unused: list[str]


def call_of_path(members: JsonObject, queue_request: str | None) -> Call:
    """Read the body of the route that has the model in its path.

    Args:
        queue_request: the query parameter `queueRequest`, which may stand in `options`, too.

    Raises: InvalidInput.
    """
    options = members.get("options")
    in_body = options.get("queueRequest") if isinstance(options, dict) else None
    wants_queue = is_queue_wanted(queue_request) or is_queue_wanted(in_body)
    return Call(members, wants_queue, unused_names(members))


def call_of_body(members: JsonObject, queue_request: str | None) -> tuple[str, Call]:
    """Read the body of the route without a model in its path: `model`, `input`, `options`.

    Returns: the model id, and the rest. Raises: InvalidInput.
    """
    missing = [name for name in ("model", "input") if name not in members]
    if missing:
        raise InvalidInput(f"required properties at '/' are '{','.join(missing)}'")
    model_id = members["model"]
    if not isinstance(model_id, str):
        raise InvalidInput(f"Type mismatch of '/model', '{json_type(model_id)}' not in 'string'")
    call = call_with_options(object_at(members, "input"), object_at(members, "options"))
    unused = [name for name in members if name not in ("model", "input", "options")]
    wants_queue = call.wants_queue or is_queue_wanted(queue_request)
    return model_id, Call(call.inputs, wants_queue, [*unused, *call.unused])


def call_with_options(
    inputs: Mapping[str, Any], options: Mapping[str, Any], also_read: frozenset[str] = frozenset()
) -> Call:
    """Read inputs that come with options beside them.

    Args:
        also_read: options that somebody else reads.

    Raises: InvalidInput.
    """
    body = dict(inputs)
    unused = unused_names(body)
    unused += [f"options.{name}" for name in options if name not in _READ_OPTIONS | also_read]
    if "rejectIfBusy" in options:
        own = body.get("options")
        own = own if isinstance(own, dict) else {}
        body["options"] = {**own, "rejectIfBusy": options["rejectIfBusy"]}
    return Call(body, is_queue_wanted(options.get("queueRequest")), unused)


def is_queue_wanted(value: object) -> bool:
    """Read `queueRequest`, of a query or of options. Raises: InvalidInput."""
    wanted = _TRUTHS.get(value) if isinstance(value, str | bool | None) else None
    if wanted is None:
        raise InvalidInput(f"'queueRequest' must be true or false, got {str(value)[:40]!r}")
    return wanted


def object_at(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a member that is an object; an empty one if it is absent. Raises: InvalidInput."""
    value = members.get(name, {})
    if not isinstance(value, dict):
        raise InvalidInput(f"Type mismatch of '/{name}', '{json_type(value)}' not in 'object'")
    return value
