"""Asynchronous batches: `queueRequest`, and the questions for their results."""

import asyncio
import json
from typing import TYPE_CHECKING

from fastapi import Request

from sirocco.api.answering import job_of, result_of_spoken
from sirocco.api.errors import log_failure, request_id_of
from sirocco.errors import SiroccoError
from sirocco.service.access import Caller
from sirocco.service.service import Service
from sirocco.store.batches import BatchState, Claim, ItemResult
from sirocco.wire import batch as wire
from sirocco.wire.call import Call
from sirocco.wire.envelope import JsonObject

if TYPE_CHECKING:
    from sirocco.service.batch_desk import BatchDesk

IDEMPOTENCY_HEADER = "idempotency-key"


class BatchAnswers:
    """Runs the items of batches as the route runs its bodies; `BatchRunner` says when."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answered(self, caller: Caller, claim: Claim, request_id: str) -> ItemResult:
        """Run an item. Raises: SiroccoError."""
        inputs = wire.read_item(claim.inputs)
        answer = await self._service.run_in_background(
            caller, claim.model_id, job_of(inputs), request_id=request_id
        )
        try:
            (spoken,) = await answer.whole()
        finally:
            answer.close()
        return ItemResult(
            is_success=True,
            text=json.dumps(result_of_spoken(spoken, answer, inputs)),
            n_prompt_tokens=answer.n_prompt_tokens,
            n_output_tokens=answer.n_output_tokens,
            n_cached_tokens=answer.n_cached_tokens,
            neurons=answer.neurons,
        )

    def failed(self, error: SiroccoError, request_id: str) -> ItemResult:
        """Write an error as the result of an item, and into the log if it is our fault."""
        log_failure(error, request_id)
        return ItemResult(is_success=False, text=wire.item_failure(error, request_id))


async def batch_answer(
    request: Request, caller: Caller, model_id: str, call: Call, key: str | None
) -> tuple[JsonObject, list[str]]:
    """Queue a batch, or tell how far one is.

    Args:
        key: of idempotency.

    Returns: the answer without an envelope, and the names of what nothing reads.
    """
    desk: BatchDesk = request.app.state.batch_desk
    asked = wire.read_batch(call, request.app.state.settings.batch_requests)
    if isinstance(asked, wire.Poll):
        state = await desk.state(caller, model_id, asked.request_id)
        unused = [name for name in call.inputs if name != "request_id"]
        return await _told(asked.request_id, state), unused
    items = [(item.inputs, item.reference) for item in asked.items]
    batch_id, known_model_id = await desk.submit(
        caller, model_id, items, digest=asked.digest, key=key, batch_id=request_id_of(request)
    )
    return wire.queued(batch_id, known_model_id), asked.unused


async def _told(batch_id: str, state: BatchState) -> JsonObject:
    if not state.is_finished:
        return wire.progress(batch_id, "running" if state.is_started else "queued")
    return await asyncio.to_thread(_finished, state)  # there may be megabytes of it


def _finished(state: BatchState) -> JsonObject:
    results = [result for _, _, result in state.done]
    entries = [
        wire.entry(position, reference, result.text, is_success=result.is_success)
        for position, reference, result in state.done
    ]
    return wire.finished(
        entries,
        sum(result.n_prompt_tokens for result in results),
        sum(result.n_output_tokens for result in results),
        sum(result.n_cached_tokens for result in results),
        sum(result.neurons for result in results),
    )
