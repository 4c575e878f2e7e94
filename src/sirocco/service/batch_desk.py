"""Where batches are handed in, and asked for."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from sirocco.errors import InvalidInput
from sirocco.service.access import Caller
from sirocco.service.service import Service
from sirocco.store.batches import Batches, BatchState, NewBatch

log = structlog.get_logger(__name__)

_LONGEST_KEY = 255


class BatchDesk:
    """Takes batches in, and tells how far they are.

    Args:
        on_queued: called when there is something to run.
    """

    def __init__(self, service: Service, batches: Batches, on_queued: Callable[[], None]) -> None:
        self._service = service
        self._batches = batches
        self._on_queued = on_queued

    async def submit(
        self, caller: Caller, model_id: str, items: Sequence[tuple[str, str | None]], *,
        digest: str, key: str | None, batch_id: str,
    ) -> tuple[str, str]:  # fmt: skip
        """Queue a batch; one that comes again with its idempotency key is not queued again.

        Args:
            items: the body of each request as JSON, and the caller's own name for it as JSON.
            digest: the same for the same items alone.

        Returns: the id of the batch, and that of its model.
        Raises: InvalidInput; what `Service.admit` raises; ModelNotInstalled; BatchesFull.
        """
        _require_key(key)
        asked = self._service.admit(caller, model_id)
        self._service.serving(asked)  # a model that cannot answer is told of now
        batch = NewBatch(
            batch_id, caller.account_id, caller.api_token_id, asked.model_id, items, digest, key
        )
        known_id = await asyncio.to_thread(self._batches.submit, batch)
        if known_id == batch_id:
            log.info("batch queued", request_id=batch_id, model_id=asked.model_id,
                     requests=len(items))  # fmt: skip
            self._on_queued()
        return known_id, asked.model_id

    async def state(self, caller: Caller, model_id: str, batch_id: str) -> BatchState:
        """Tell how far a batch is. Raises: UnknownModel; UnknownBatch; InvalidInput."""
        asked = self._service.catalog.find(model_id)
        state = await asyncio.to_thread(self._batches.state, batch_id, caller.account_id)
        if state.model_id != asked.model_id:
            raise InvalidInput(
                f"'/request_id' is of a batch for {state.model_id}, not for {asked.model_id}"
            )
        return state


def _require_key(key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= _LONGEST_KEY and key.isprintable()):
        raise InvalidInput(
            f"'Idempotency-Key' must have 1 to {_LONGEST_KEY} printable characters, "
            f"got {key[:40]!r} with {len(key)}"
        )
