"""The engine in a thread of its own, beside an event loop that stays free. The only asyncio here.

Requests go in through a queue and pieces come out through the loop, once per step. Only the
thread touches the engine, so nothing in it needs a lock.
"""

import asyncio
import logging
import queue
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence

from sirocco.engine.engine import Engine, Piece
from sirocco.engine.request import Request
from sirocco.errors import Aborted, EngineFault, OutOfCapacity, SiroccoError
from sirocco.types import FinishReason, SamplingParams

log = logging.getLogger(__name__)


def _nothing(*_: object) -> None:
    """Do nothing: a message that only wakes the thread, a caller who need not be told."""


class Generation:
    """A live answer: iterate over its pieces, or abort it.

    Its counts are the engine's own, whether the pieces are looked at or not.

    Attributes:
        n_output_tokens: so far.
        n_cached_tokens: prompt tokens whose keys and values were there already.
        ttft_s: seconds from submission to the first output token; None before it.
        finish_reason: why it ended; None before that.
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
        self._started_s = time.monotonic()
        self._abort = abort
        self._on_over = on_over
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue()
        self._is_read = False

    @property
    def elapsed_s(self) -> float:
        """Seconds since submission."""
        return time.monotonic() - self._started_s

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        """Wait for the next piece. Raises: Interrupted if the answer breaks off."""
        if self._is_read:
            raise StopAsyncIteration
        piece = await self._pieces.get()
        self._is_read = piece.finish_reason is not None
        if piece.error is not None:
            raise piece.error
        return piece

    def abort(self) -> None:
        """End the answer, any number of times; its blocks are free by the next step."""
        if self.finish_reason is None:
            self._abort(self.request_id)

    def deliver(self, piece: Piece) -> None:
        """Hand over a piece, in the event loop's thread."""
        if piece.token_ids and self.ttft_s is None:
            self.ttft_s = self.elapsed_s
        self.n_output_tokens += len(piece.token_ids)
        self.finish_reason = piece.finish_reason
        self._pieces.put_nowait(piece)
        if piece.finish_reason is not None:
            self._on_over(self)


class AsyncEngine:
    """Many answers at once for an event loop.

    Args:
        engine: from `start` to `aclose` nobody else may touch it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._live: dict[str, Generation] = {}  # the event loop's thread alone
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_closing = False

    @property
    def is_running(self) -> bool:
        """The thread is there and takes requests."""
        return self._thread is not None and self._thread.is_alive() and not self._is_closing

    @property
    def is_busy(self) -> bool:
        """A new request would have to wait; a glance from outside, good for a moment."""
        scheduler = self.engine.scheduler
        return bool(scheduler.waiting) or len(scheduler.running) >= self.engine.config.max_running

    def start(self) -> None:
        """Start the thread; call it where the event loop runs."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="sirocco-engine", daemon=True)
        self._thread.start()

    async def aclose(self) -> None:
        """Abort what is live and wait for the step in flight."""
        self._is_closing = True
        self._inbox.put(_nothing)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        for request_id in list(self._live):
            self._deliver([_broken_off(request_id, Aborted("the engine was stopped"))])

    def submit(
        self,
        prompt_token_ids: Sequence[int],
        sampling: SamplingParams,
        *,
        request_id: str | None = None,
        on_over: Callable[[Generation], None] = _nothing,
    ) -> Generation:
        """Let a request wait for its turn and hand out its answer to come.

        Args:
            on_over: called once in the event loop's thread when the answer has ended in any way.

        Raises: PromptTooLong, InvalidInput or OutOfCapacity at once; Aborted while closing.
        """
        if self._is_closing:
            raise Aborted("the engine is being stopped")
        self.engine.limits.check(prompt_token_ids, sampling)
        if len(self.engine.scheduler.waiting) >= self.engine.config.max_waiting:  # a glance
            raise OutOfCapacity("Capacity temporarily exceeded, please try again.")
        request_id = request_id or str(uuid.uuid4())
        generation = Generation(request_id, len(prompt_token_ids), self._abort, on_over)
        self._live[request_id] = generation
        token_ids = list(prompt_token_ids)
        self._inbox.put(lambda: self._add(request_id, token_ids, sampling))
        return generation

    def _abort(self, request_id: str) -> None:
        self._inbox.put(lambda: self._send([self.engine.abort(request_id)]))

    def _add(self, request_id: str, token_ids: list[int], sampling: SamplingParams) -> None:
        try:
            self.engine.add(Request(request_id, token_ids, sampling))
        except SiroccoError as error:
            self._send([_broken_off(request_id, error)])
        except Exception:
            log.exception("a request could not be added", extra={"request_id": request_id})
            fault = EngineFault("the engine could not take the request")
            self._send([_broken_off(request_id, fault)])

    def _work(self) -> None:
        """Take what came in, then step; sleep while there is nothing to do. This is the thread."""
        while not self._is_closing:
            try:
                self._take_in(wait=not self.engine.has_work)
                self._send(self.engine.step())
            except Exception:
                log.exception("the engine failed; every answer in flight ends")
                self._drop_all()

    def _take_in(self, *, wait: bool) -> None:
        try:
            if wait:
                self._inbox.get()()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            return

    def _drop_all(self) -> None:
        scheduler = self.engine.scheduler
        for seq in [*scheduler.running, *scheduler.waiting]:
            self.engine.abort(seq.request_id)
            self._send([_broken_off(seq.request_id, EngineFault("the engine failed in a step"))])

    def _send(self, pieces: Sequence[Piece | None]) -> None:
        """From the thread to the loop, once for all pieces of a step."""
        sent = [piece for piece in pieces if piece is not None]
        if sent and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, sent)

    def _deliver(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            generation = self._live.get(piece.request_id)
            if generation is None:
                continue
            if piece.finish_reason is not None:
                del self._live[piece.request_id]
            generation.deliver(piece)


def _broken_off(request_id: str, error: SiroccoError) -> Piece:
    return Piece(request_id, "", finish_reason=FinishReason.ABORT, error=error)
