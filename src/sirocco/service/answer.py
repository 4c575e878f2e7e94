"""A live answer in the caller's hands, whose usage is recorded once, however it ends."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from sirocco.engine.async_engine import Generation
from sirocco.engine.engine import Piece
from sirocco.service.access import Caller
from sirocco.service.usage_writer import UsageWriter
from sirocco.store.tables import utc_now
from sirocco.store.usage import UsageRow
from sirocco.types import FinishReason

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AnswerOrigin:
    """Who asked for an answer, and which model gives it.

    Attributes:
        model_id: the model that was asked for; usage is counted for it.
        served_by: the model that answers; another one if it stands in.
    """

    caller: Caller
    model_id: str
    served_by: str

    @property
    def is_stand_in(self) -> bool:
        """Another model answers than was asked for."""
        return self.model_id != self.served_by


class Answer:
    """Iterate over the pieces of an answer; `close` it in any case.

    Attributes:
        n_prompt_tokens, n_output_tokens: so far.
    """

    def __init__(self, generation: Generation, origin: AnswerOrigin, usage: UsageWriter) -> None:
        self.origin = origin
        self.request_id = generation.request_id
        self.n_prompt_tokens = generation.n_prompt_tokens
        self.n_output_tokens = 0
        self._generation = generation
        self._usage = usage
        self._finish_reason = FinishReason.ABORT  # until the engine says otherwise
        self._started_at, self._started_s = utc_now(), time.monotonic()
        self._ttft_s: float | None = None
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Wait for each piece. Raises: Interrupted if the answer breaks off."""
        async for piece in self._generation:
            if self._ttft_s is None and piece.token_ids:
                self._ttft_s = time.monotonic() - self._started_s
            self.n_output_tokens += len(piece.token_ids)
            self._finish_reason = piece.finish_reason or self._finish_reason
            yield piece

    async def text(self) -> str:
        """Wait for the whole answer. Raises: Interrupted if it breaks off."""
        return "".join([piece.text async for piece in self])

    def close(self) -> None:
        """Stop the engine's work on it, and record what it used; again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._generation.abort()
        row = self._usage_row()
        self._usage.put(row)
        log.info(
            "request finished", request_id=row.request_id, model_id=row.model_id,
            served_by=self.origin.served_by, prompt_tokens=row.prompt_tokens,
            output_tokens=row.output_tokens, ttft_s=_rounded(row.ttft_s),
            duration_s=_rounded(row.duration_s), finish_reason=str(row.finish_reason),
        )  # fmt: skip

    def _usage_row(self) -> UsageRow:
        return UsageRow(
            request_id=self.request_id,
            account_id=self.origin.caller.account_id,
            api_token_id=self.origin.caller.api_token_id,
            model_id=self.origin.model_id,
            prompt_tokens=self.n_prompt_tokens,
            output_tokens=self.n_output_tokens,
            cached_tokens=self._generation.n_cached_tokens,
            finish_reason=self._finish_reason,
            started_at=self._started_at,
            ttft_s=self._ttft_s,
            duration_s=time.monotonic() - self._started_s,
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
