"""Asynchronous batches: many bodies in one request, and results that are asked for later.

Sent are `{"requests": […]}` with `queueRequest`, then `{"request_id": …}` until the results come.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from sirocco.errors import InvalidInput, SiroccoError
from sirocco.wire.body import json_type
from sirocco.wire.call import Call
from sirocco.wire.envelope import JsonObject
from sirocco.wire.status import failure
from sirocco.wire.strict import Strict
from sirocco.wire.text_generation import (
    TextGeneration,
    read_text_generation,
    unused_names,
    usage,
)
from sirocco.wire.violations import refusal

LONGEST_REFERENCE = 256

Status = Literal["queued", "running"]

_REFERENCE = "external_reference"


class Batch(Strict):
    """A body that queues requests, each a body of its own, which is checked when it runs."""

    requests: Annotated[list[dict[str, Any]], Field(min_length=1)]


class Poll(Strict):
    """A body that asks for a batch's results."""

    request_id: Annotated[str, Field(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One of a batch's requests.

    Attributes:
        inputs: its body as JSON, without the reference.
        reference: the caller's own name for it, as JSON.
    """

    inputs: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """Requests that are to be queued.

    Attributes:
        unused: members that nothing reads.
        digest: the same for bodies that mean the same, and for no others.
    """

    items: Sequence[BatchItem]
    unused: list[str]
    digest: str


AnyBody = TypeVar("AnyBody", Batch, Poll)


def is_batch(call: Call) -> bool:
    """Tell whether a request is about batches at all: it queues one, or asks for one."""
    return call.wants_queue or _is_poll(call.inputs)


def read_batch(call: Call, most_requests: int) -> Submission | Poll:
    """Read a request that is about a batch. Raises: InvalidInput."""
    inputs = call.inputs
    if _is_poll(inputs):
        return _validated(Poll, inputs)
    if "requests" not in inputs:
        raise InvalidInput("required properties at '/' are 'requests', which 'queueRequest' is for")
    requests = _validated(Batch, inputs).requests
    if len(requests) > most_requests:
        raise InvalidInput(
            f"Number of items of '/requests' must be <= {most_requests}, got {len(requests)}"
        )
    items = [_item(index, request) for index, request in enumerate(requests)]
    unused = [name for name in inputs if name not in ("requests", "options")]
    unused += [name for name in call.unused if name.startswith("options.")]
    return Submission(items, [*unused, *_unused_in(requests)], _digest(requests))


def read_item(inputs: str) -> TextGeneration:
    """Check the body of a batch's request. Raises: InvalidInput."""
    generation = read_text_generation(json.loads(inputs))
    if generation.stream:
        raise InvalidInput("'/stream' must be false in a batch")
    if generation.options.reject_if_busy:
        raise InvalidInput("'/options/rejectIfBusy' must be false in a batch, which waits")
    return generation


def queued(request_id: str, model_id: str) -> JsonObject:
    """Write the answer to a batch that was queued."""
    return {"status": "queued", "request_id": request_id, "model": model_id}


def progress(request_id: str, status: Status) -> JsonObject:
    """Write the answer to a question that came too early."""
    return {"status": status, "request_id": request_id}


def item_failure(error: SiroccoError, request_id: str) -> str:
    """Write what becomes of a request that failed: the errors of its envelope, as JSON."""
    return json.dumps(failure(error, request_id)["errors"])


def entry(index: int, reference: str | None, result: str, *, is_success: bool) -> JsonObject:
    """Write one of the responses, from the JSON of its result, or of its errors."""
    told = json.loads(result)
    written = {"id": index, "result": told if is_success else {}, "success": is_success}
    errors = {} if is_success else {"errors": told}
    named = None if reference is None else json.loads(reference)
    return {**written, **errors, _REFERENCE: named}


def finished(
    entries: Sequence[JsonObject], n_prompt_tokens: int, n_output_tokens: int,
    n_cached_tokens: int, neurons: float,
) -> JsonObject:  # fmt: skip
    """Write all responses, and what they used together."""
    counts = usage(n_prompt_tokens, n_output_tokens, n_cached_tokens, neurons=neurons)
    return {"responses": list(entries), "usage": counts}


def _is_poll(inputs: Mapping[str, Any]) -> bool:
    return "request_id" in inputs and not inputs.keys() & {"requests", "prompt", "messages"}


def _validated(schema: type[AnyBody], inputs: Mapping[str, Any]) -> AnyBody:
    try:
        return schema.model_validate(inputs)
    except ValidationError as error:
        raise refusal(error) from error


def _item(index: int, request: Mapping[str, Any]) -> BatchItem:
    reference = request.get(_REFERENCE)
    where = f"/requests/{index}/{_REFERENCE}"
    if reference is not None and not isinstance(reference, str):
        raise InvalidInput(f"Type mismatch of '{where}', '{json_type(reference)}' not in 'string'")
    if reference is not None and len(reference) > LONGEST_REFERENCE:
        raise InvalidInput(
            f"Length of '{where}' must be <= {LONGEST_REFERENCE}, got {len(reference)}"
        )
    if reference is not None and not _is_unicode(reference):
        raise InvalidInput(f"'{where}' must be Unicode text, got {reference!r}")
    named = None if reference is None else json.dumps(reference)
    return BatchItem(json.dumps(_without_reference(request)), named)


def _is_unicode(text: str) -> bool:
    """Tell whether a text can be sent back: JSON can name half a surrogate pair, which cannot."""
    return text == text.encode("utf-8", "replace").decode()


def _without_reference(request: Mapping[str, Any]) -> JsonObject:
    return {name: value for name, value in request.items() if name != _REFERENCE}


def _unused_in(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    names = {
        f"requests.{name}": None
        for request in requests
        for name in unused_names(_without_reference(request))
    }
    return list(names)


def _digest(requests: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(requests, sort_keys=True).encode()).hexdigest()
