"""A live answer in the hands of the process that asked for it."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NoReturn

from sirocco.engine.process.messages import Piece, error_of
from sirocco.errors import SiroccoError
from sirocco.types import FinishReason


class Generation:
    """A live answer: iterate over its pieces, or abort it.

    One reader, in the event loop's thread. Its counts are the engine's own, whether the pieces
    are looked at or not.

    Attributes:
        n_output_tokens: so far.
        n_cached_tokens: prompt tokens whose keys and values were there already.
        ttft_s: seconds from submission to the first output token; None before it.
        finish_reason: why it ended, the last one of several answers; None before that.
        error: what the reader is told in place of a last piece; None if it ended well.
    """

    def __init__(
        self,
        request_id: str,
        n_prompt_tokens: int,
        abort: Callable[[str], None],
        on_over: Callable[["Generation"], None],
    ) -> None:
        self.request_id = request_id
        self.n_prompt_tokens = n_prompt_tokens
        self.n_output_tokens = 0
        self.n_cached_tokens = 0
        self.ttft_s: float | None = None
        self.finish_reason: FinishReason | None = None
        self.error: SiroccoError | None = None
        self._started_s = time.monotonic()
        self._abort = abort
        self._on_over = on_over
        # A queue of asyncio costs three times as much, and this is paid for each token.
        self._pieces: deque[Piece] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._is_told = False

    @property
    def elapsed_s(self) -> float:
        """Seconds since submission."""
        return time.monotonic() - self._started_s

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        """Wait for the next piece. Raises: SiroccoError if the answer breaks off."""
        while not self._pieces:
            if self.finish_reason is not None:
                self._end_of_reading()
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._pieces.popleft()

    def abort(self) -> None:
        """End the answer, any number of times; its blocks are free by the next step."""
        if self.finish_reason is None:
            self._abort(self.request_id)

    def deliver(self, piece: Piece) -> None:
        """Hand over a piece, in the event loop's thread."""
        if piece.token_ids:
            if self.ttft_s is None:
                self.ttft_s = self.elapsed_s
            self.n_output_tokens += len(piece.token_ids)
        if piece.n_cached_tokens:
            self.n_cached_tokens = piece.n_cached_tokens
        if piece.error is None:
            self._pieces.append(piece)
        if piece.is_last:
            assert piece.finish_reason is not None, "the last piece says why it is the last"
            error = None if piece.error is None else error_of(piece.error)
            self._end(piece.finish_reason, error)
        self._wake()

    def break_off(self, error: SiroccoError) -> None:
        """End an answer that will get no more pieces, in the event loop's thread."""
        if self.finish_reason is None:
            self._end(FinishReason.ABORT, error)
            self._wake()

    def _end_of_reading(self) -> NoReturn:
        """Tell the reader how it ended: an error is told once, and then there is nothing more."""
        is_told, self._is_told = self._is_told, True
        if self.error is not None and not is_told:
            raise self.error
        raise StopAsyncIteration

    def _end(self, reason: FinishReason, error: SiroccoError | None) -> None:
        self.finish_reason, self.error = reason, error
        self._on_over(self)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
