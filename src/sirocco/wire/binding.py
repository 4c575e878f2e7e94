"""The binding protocol: what `env.AI` of a Worker script sends, and what it is answered with.

There are three generations of it. The third is the binding that is built into the Workers
runtime; the others are npm packages, which the runtime's binding still lets pass. Answers are
bare results, without an envelope, and errors have a form of their own.
"""

import gzip
import json
from collections.abc import Mapping
from typing import Any, Literal

from sirocco.errors import InvalidInput, SiroccoError
from sirocco.wire.call import Call, call_with_options, object_at
from sirocco.wire.envelope import JsonObject
from sirocco.wire.status import describe, failure, layer_of, status_of

Version = Literal[1, 2, 3]

_VERSIONS: dict[str | None, Version] = {None: 1, "1": 1, "2": 2, "3": 3}
_READ_BY_RUNTIME = frozenset({"returnRawResponse"})
"""Options that the script's runtime reads itself."""
_CLASSES = ("AiError: Bad input: ", "AiError: No such model: ", "AiError: ")


def version_of(text: str | None) -> Version:
    """Read the generation from its query parameter; the first one sent none.

    Raises: InvalidInput.
    """
    if text not in _VERSIONS:
        raise InvalidInput(f"'version' must be 1, 2 or 3, got {text!r}")
    return _VERSIONS[text]


def model_id_of(header: str | None) -> str:
    """Read the header that names the model; a script may put a prefix and `:` before the id.

    Raises: InvalidInput if it is absent.
    """
    if not header:
        raise InvalidInput("the header cf-consn-model-id, which names the model, is missing")
    return header.rpartition(":")[2]


def read_call(members: Mapping[str, Any]) -> Call:
    """Read the body of the second and third generation. Raises: InvalidInput."""
    return call_with_options(
        object_at(members, "inputs"), object_at(members, "options"), _READ_BY_RUNTIME
    )


def packed_result(result: JsonObject) -> bytes:
    """Write an answer for the second generation, which unpacks whatever it is told it gets."""
    return gzip.compress(json.dumps(result).encode())


def binding_failure(error: SiroccoError, request_id: str) -> JsonObject:
    """Write an error for the binding; one of credentials has the gateway's envelope here, too."""
    if layer_of(error) == "gateway":
        return failure(error, request_id)
    http_status, code = status_of(error)
    text = describe(error)
    description = next((text[len(c) :] for c in _CLASSES if text.startswith(c)), text)
    return {
        "name": "AiError",
        "internalCode": code,
        "httpCode": http_status,
        "message": f"{text} ({request_id})",
        "description": description,
        "requestId": request_id,
    }
