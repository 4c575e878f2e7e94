"""An engine as the API's process sees it: requests go out over a socket, pieces come in.

It holds no tensors and imports none. Everything here runs in one event loop.
"""

import asyncio
import math
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sirocco.engine.block_view import BlockView
from sirocco.engine.inspection.request import InspectionRequest
from sirocco.engine.process.admission import Admission, Pace
from sirocco.engine.process.channel import ChannelError, EngineProtocol, frame
from sirocco.engine.process.generation import Generation
from sirocco.engine.process.inspections import BlockLooks, Inspection, Inspections
from sirocco.engine.process.messages import (
    Abort,
    BlocksSeen,
    ErrorText,
    Failed,
    FromEngine,
    Heartbeat,
    Inspected,
    Load,
    Piece,
    Pieces,
    Ready,
    Stop,
    Submit,
    ToEngine,
    error_of,
)
from sirocco.engine.process.turns import Turns
from sirocco.engine.request import EngineLimits, Request
from sirocco.errors import (
    Aborted,
    EngineFault,
    InvalidInput,
    LimitError,
    OutOfCapacity,
    RequestTooLarge,
    SiroccoError,
)

if TYPE_CHECKING:
    from sirocco.engine.inspection.shape import EngineShape


def _nothing(_over: Generation) -> None:
    """Do nothing: the caller need not be told."""


class EngineClient:
    """The other end of an engine's socket. Make it with `connected`.

    Attributes:
        limits: what one request may ask.
        shape: of its network and its KV cache; None before it is loaded.
        load: how much the engine has to do, as it said last.
        n_steps, has_work: steps that the engine finished; whether it would do another.
        n_heard: messages that came, of any kind: signs of life.
        lost: done with the reason when the engine can be heard no more.
    """

    def __init__(self, queue_timeout_s: float = math.inf) -> None:
        self.load = Load()
        self.n_steps = 0
        self.has_work = False
        self.n_heard = 0
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = loop.create_future()
        self._started: asyncio.Future[None] = loop.create_future()
        self._protocol = EngineProtocol(self._on_message, self._on_lost)
        self._live: dict[str, Generation] = {}
        self._inspections = Inspections(self._send)
        self._looks = BlockLooks(self._send)
        self._pace = Pace()
        self._queue_timeout_s = queue_timeout_s
        self._turns = Turns()
        self._is_closing = False
        # The engine says how much it takes when it is loaded; before that it is nothing.
        self.limits = EngineLimits(vocab_size=0, limit_tokens=0, max_n=0)
        self.shape: EngineShape | None = None
        self._max_running = self._max_live = 0
        self._admission = Admission(0)

    @classmethod
    async def connected(
        cls, to_engine: socket.socket, *, queue_timeout_s: float = math.inf
    ) -> "EngineClient":
        """Wait until the engine behind a socket is loaded, however long that takes.

        Args:
            queue_timeout_s: whoever would wait longer for its turn is refused at once.

        Raises: SetupError as the engine gave it; EngineFault if it ended without a word.
        """
        client = cls(queue_timeout_s)
        to_engine.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(
            lambda: client._protocol, sock=to_engine
        )
        try:
            await client._started
        except BaseException:
            client._protocol.hang_up("it was not waited for")
            raise
        return client

    @property
    def is_running(self) -> bool:
        """The engine is there and takes requests."""
        return not self.lost.done() and not self._is_closing

    @property
    def is_busy(self) -> bool:
        """A new request would have to wait; good for a moment."""
        return self.load.n_waiting > 0 or len(self._live) >= self._max_running

    @property
    def n_live(self) -> int:
        """Answers and inspections that are not over."""
        return len(self._live) + self._inspections.n_live

    def check_room(self, account: str) -> None:
        """Refuse an account's next request now, before work is spent on it, if it is to be.

        Raises: OutOfCapacity.
        """
        try:
            self._admission.check_room(account)
        except OutOfCapacity as error:
            raise self._out_of_capacity(str(error)) from error

    def expect(self, request_id: str, account: str) -> None:
        """Know of a request that is not read yet, until it is submitted or `forget` is called.

        Raises: OutOfCapacity if there will be no place for it; it need not be read then.
        """
        try:
            self._admission.expect(request_id, account)
        except OutOfCapacity as error:
            raise self._out_of_capacity(str(error)) from error

    async def turn(self, request_id: str, account: str) -> None:
        """Wait until a request that is expected should be read: few of an account are at once."""
        await self._turns.wait(request_id, account)

    def forget(self, request_id: str) -> None:
        """Expect a request no more; again does nothing."""
        self._turns.leave(request_id)
        self._admission.forget(request_id)

    def submit(
        self, request: Request, *, on_over: Callable[[Generation], None] = _nothing
    ) -> Generation:
        """Let a request wait for its turn and hand out its answer to come.

        Args:
            on_over: called once in the event loop's thread when the answer has ended in any way.

        Raises: PromptTooLong, InvalidInput, RequestTooLarge or OutOfCapacity at once; EngineFault
            if the engine is gone; Aborted while it is being stopped.
        """
        self._check_open()
        self.limits.check(request.prompt_token_ids, request.sampling)
        data = _written(_cut_to(self.limits.limit_tokens, request))
        request_id = request.request_id
        assert request_id not in self._live, "request ids are drawn at random"
        pushed_out = self._admitted(request)
        if pushed_out is not None:
            self._push_out(pushed_out)
        n_prompt_tokens = len(request.prompt_token_ids)
        generation = Generation(request_id, n_prompt_tokens, self._abort, on_over)
        self._live[request_id] = generation
        self._protocol.send(data)
        return generation

    def check_room_to_inspect(self, account: str) -> None:
        """Refuse an account's next inspection now, if it is to be. Raises: OutOfCapacity."""
        self._inspections.check_room(account)

    def inspect(
        self, request: InspectionRequest, *, on_over: Callable[[Inspection], None]
    ) -> Inspection:
        """Let the engine look inside of its network at work on a text, when it has time.

        Args:
            on_over: called once in the event loop's thread when it has ended in any way.

        Raises: InvalidInput or OutOfCapacity at once; EngineFault; Aborted.
        """
        self._check_open()
        assert self.shape is not None, "an engine that is open has said what it is"
        request.check(n_layers=self.shape.n_layers, n_heads=self.shape.n_heads)
        return self._inspections.submit(request, on_over)

    def is_live_of(self, request_id: str, account: str) -> bool:
        """Tell whether a live answer of this account has this id."""
        return self._admission.account_of(request_id) == account

    async def look_at_blocks(self, request_id: str) -> BlockView:
        """See which blocks a request holds between two steps; of one that is over, none.

        Raises: EngineFault if the engine is gone; Aborted while it is being stopped.
        """
        self._check_open()
        return await self._looks.look(request_id)

    def break_off(self, error: SiroccoError) -> None:
        """End every live answer with this error, and stop the engine's work on them."""
        self._looks.break_off(error)
        self._inspections.break_off(error)
        for request_id in list(self._live):
            self._abort(request_id)
            self._over(request_id).break_off(error)

    def stop(self) -> None:
        """Ask the engine to end after its step in flight; nothing can be submitted any more."""
        self._is_closing = True
        self.break_off(Aborted("the engine was stopped"))
        self._send(Stop())

    def hang_up(self, reason: str) -> None:
        """Give the engine up: live answers end with EngineFault."""
        self._protocol.hang_up(reason)
        self._on_lost(reason)

    def _check_open(self) -> None:
        if self._is_closing:
            raise Aborted("the engine is being stopped")
        if self.lost.done():
            raise EngineFault("the engine has ended, and a new one is being started")

    def _admitted(self, request: Request) -> str | None:
        self._turns.leave(request.request_id)
        try:
            return self._admission.admit(request.request_id, request.account)
        except OutOfCapacity as error:
            raise self._out_of_capacity(str(error)) from error

    def _push_out(self, request_id: str) -> None:
        self._send(Abort(request_id))
        error = self._out_of_capacity("another account, which has fewer answers here, came")
        self._over(request_id).break_off(error)

    def _out_of_capacity(self, text: str) -> OutOfCapacity:
        n_ahead = self._admission.n_unstarted + 1
        return OutOfCapacity(
            text, retry_after_s=self._pace.retry_after_s(n_ahead, time.monotonic())
        )

    def _abort(self, request_id: str) -> None:
        self._send(Abort(request_id))

    def _send(self, message: ToEngine) -> None:
        self._protocol.send(frame(message))

    def _over(self, request_id: str) -> Generation:
        """Take a live answer out of the books."""
        self._admission.ended(request_id)
        return self._live.pop(request_id)

    def _on_message(self, message: FromEngine) -> None:
        self.n_heard += 1
        if isinstance(message, Pieces):
            self._heed(message.load)
            for piece in message.pieces:
                self._deliver(piece)
        elif isinstance(message, Inspected):
            self._inspections.deliver(message)
        elif isinstance(message, BlocksSeen):
            self._looks.deliver(message)
        elif isinstance(message, Heartbeat):
            self._heed(message.load)
            self.n_steps, self.has_work = message.n_steps, message.has_work
        elif self._started.done():
            self.hang_up("it said twice how its start went")
        elif isinstance(message, Ready):
            self.limits, self._max_running = message.limits, message.max_running
            self.shape = message.shape
            self._max_live = message.max_live
            self._admission = Admission(message.max_live)
            self._started.set_result(None)
        elif isinstance(message, Failed):
            self._started.set_exception(error_of(message.error))

    def _heed(self, load: Load) -> None:
        """Know how much the engine has to do, and so how many may have a place.

        As many may wait as were allowed to, but no more than have a turn in time.
        """
        self.load = load
        n_in_time = self._pace.n_within(self._queue_timeout_s, time.monotonic())
        n_may_wait = min(self._max_live - self._max_running, max(1, n_in_time))
        self._admission.resize(max(1, load.n_runnable + int(n_may_wait)))

    def _deliver(self, piece: Piece) -> None:
        request_id = piece.request_id
        generation = self._live.get(request_id)
        if generation is None:
            return  # it was pushed out, and the engine did not know yet
        if piece.is_last:
            is_full = len(self._live) > self.load.n_runnable
            self._pace.ended(time.monotonic(), is_full=is_full)
            self._over(request_id)
        elif not generation.n_output_tokens:
            self._admission.began(request_id)
        if piece.error is not None and self._is_capacity(piece.error):
            generation.break_off(self._out_of_capacity(piece.error.text))
        else:
            generation.deliver(piece)

    @staticmethod
    def _is_capacity(written: ErrorText) -> bool:
        return isinstance(error_of(written), LimitError)

    def _on_lost(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
        if not self._started.done():
            fault = EngineFault(f"the engine ended while it started: {reason}")
            self._started.set_exception(fault)
        fault = EngineFault("the engine ended unexpectedly")
        self._looks.break_off(fault)
        self._inspections.break_off(fault)
        for request_id in list(self._live):
            self._over(request_id).break_off(EngineFault("the engine ended unexpectedly"))


def _cut_to(limit_tokens: int, request: Request) -> Request:
    """Bound numbers that may be of any size, so that they fit into a message."""
    sampling = request.sampling
    max_tokens, top_k = min(sampling.max_tokens, limit_tokens), min(sampling.top_k, 2**31)
    return replace(request, sampling=replace(sampling, max_tokens=max_tokens, top_k=top_k))


def _written(request: Request) -> bytes:
    try:
        return frame(Submit(request))
    except UnicodeEncodeError as error:
        raise InvalidInput("'/stop' must be text that has a UTF-8 form") from error
    except ChannelError as error:
        raise RequestTooLarge(f"the request cannot be handed to the engine: {error}") from error
