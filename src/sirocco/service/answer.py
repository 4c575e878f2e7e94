"""A live answer in the caller's hands, and the row that is kept when it is over."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import structlog

from sirocco.catalog.price import FREE, Price
from sirocco.engine.process.generation import Generation
from sirocco.engine.process.messages import Piece
from sirocco.errors import (
    Aborted,
    EngineFault,
    LimitError,
    OutOfCapacity,
    SiroccoError,
    Unavailable,
)
from sirocco.service.access import Caller
from sirocco.service.usage_writer import UsageWriter
from sirocco.store.tables import utc_now
from sirocco.store.usage import UsageRow
from sirocco.tokenizer.base import Tokenizer
from sirocco.tokenizer.tools import CallsRead, begins_call, read_tool_calls
from sirocco.types import FinishReason, TokenLogprob

log = structlog.get_logger(__name__)

REDONE = (OutOfCapacity, Unavailable, Aborted, EngineFault)
"""What breaks an answer off that may go well another time."""


@dataclass(frozen=True, slots=True)
class AnswerOrigin:
    """Who asked for an answer, and which model gives it.

    Attributes:
        model_id: the model that was asked for; usage is counted for it.
        served_by: the model that answers; another one if it stands in.
        price: what tokens cost: those of the model that was asked for.
        is_redone: an answer that is broken off by no fault of its own is begun anew under the
            same request id, and counted when it is whole.
    """

    caller: Caller
    model_id: str
    served_by: str
    price: Price = FREE
    is_redone: bool = False

    @property
    def is_stand_in(self) -> bool:
        """Another model answers than was asked for."""
        return self.model_id != self.served_by


@dataclass(slots=True)
class Spoken:
    """One whole answer to a prompt: its text, or the tools it calls."""

    text: str = ""
    called: CallsRead = field(default_factory=CallsRead)
    finish_reason: FinishReason = FinishReason.ABORT
    logprobs: list[TokenLogprob] = field(default_factory=list)


class Answer:
    """Iterate over the pieces of an answer; `close` it in any case.

    Attributes:
        offers_tools: it may be calls of tools in place of text; `ToolReader` tells which.
    """

    def __init__(
        self, generation: Generation, origin: AnswerOrigin, tokenizer: Tokenizer, *,
        offers_tools: bool = False,
    ) -> None:  # fmt: skip
        self._generation = generation
        self._tokenizer = tokenizer
        self.origin = origin
        self.offers_tools = offers_tools

    @property
    def request_id(self) -> str:
        """The id under which its usage is kept."""
        return self._generation.request_id

    @property
    def n_prompt_tokens(self) -> int:
        """Tokens that went in, those of the template included."""
        return self._generation.n_prompt_tokens

    @property
    def n_output_tokens(self) -> int:
        """Tokens that came out so far, those without text included."""
        return self._generation.n_output_tokens

    @property
    def n_cached_tokens(self) -> int:
        """Prompt tokens that were computed before."""
        return self._generation.n_cached_tokens

    @property
    def neurons(self) -> float:
        """What it cost so far."""
        return self.origin.price.neurons(self.n_prompt_tokens, self.n_output_tokens)

    def __aiter__(self) -> AsyncIterator[Piece]:
        """Wait for each piece. Raises: SiroccoError if the answer breaks off."""
        return aiter(self._generation)

    async def whole(self) -> list[Spoken]:
        """Wait for the whole answers, as many as were asked for.

        Raises: SiroccoError if they break off.
        """
        spoken: list[Spoken] = []
        async for piece in self:
            while len(spoken) <= piece.index:
                spoken.append(Spoken())
            one = spoken[piece.index]
            one.text += piece.text
            one.logprobs += piece.logprobs
            one.finish_reason = piece.finish_reason or one.finish_reason
        for one in spoken if self.offers_tools else ():
            one.called = read_tool_calls(one.text)
            one.text = "" if begins_call(one.text) else one.text
        return spoken

    def token_bytes(self, token_id: int) -> bytes:
        """Give what a token adds to a text; nothing for a control token."""
        return self._tokenizer.token_bytes(token_id) or b""

    def close(self) -> None:
        """Stop the engine's work on it, if there is any left; again does nothing."""
        self._generation.abort()


class Ended(Protocol):
    """What of an answer, or of another piece of work on a prompt, is kept when it is over."""

    @property
    def request_id(self) -> str: ...  # noqa: D102 - named as in `Generation`
    @property
    def n_prompt_tokens(self) -> int: ...  # noqa: D102
    @property
    def n_output_tokens(self) -> int: ...  # noqa: D102
    @property
    def n_cached_tokens(self) -> int: ...  # noqa: D102
    @property
    def ttft_s(self) -> float | None: ...  # noqa: D102
    @property
    def elapsed_s(self) -> float: ...  # noqa: D102
    @property
    def finish_reason(self) -> FinishReason | None: ...  # noqa: D102
    @property
    def error(self) -> SiroccoError | None: ...  # noqa: D102


def settle(generation: Ended, origin: AnswerOrigin, usage: UsageWriter) -> bool:
    """Keep what an answer that is over has used; the engine's client calls this once for each.

    Returns: whether there is a row: an answer that was refused while it waited has used nothing,
        and one that will be begun anew is counted then.
    """
    assert generation.finish_reason is not None, "only an answer that is over can be settled"
    if isinstance(generation.error, LimitError) and not generation.n_output_tokens:
        return False
    if origin.is_redone and _is_no_fault_of_its_own(generation):
        return False
    duration_s = generation.elapsed_s
    row = UsageRow(
        request_id=generation.request_id,
        account_id=origin.caller.account_id,
        api_token_id=origin.caller.api_token_id,
        model_id=origin.model_id,
        prompt_tokens=generation.n_prompt_tokens,
        output_tokens=generation.n_output_tokens,
        cached_tokens=generation.n_cached_tokens,
        finish_reason=generation.finish_reason,
        started_at=utc_now() - timedelta(seconds=duration_s),
        ttft_s=generation.ttft_s,
        duration_s=duration_s,
        neurons=origin.price.neurons(generation.n_prompt_tokens, generation.n_output_tokens),
    )
    usage.put(row)
    log.info(
        "request finished", request_id=row.request_id, model_id=row.model_id,
        served_by=origin.served_by, prompt_tokens=row.prompt_tokens,
        output_tokens=row.output_tokens, neurons=row.neurons, ttft_s=_rounded(row.ttft_s),
        duration_s=_rounded(row.duration_s), finish_reason=str(row.finish_reason),
    )  # fmt: skip
    return True


def _is_no_fault_of_its_own(generation: Ended) -> bool:
    if generation.finish_reason is not FinishReason.ABORT:
        return False
    return generation.error is None or isinstance(generation.error, REDONE)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
