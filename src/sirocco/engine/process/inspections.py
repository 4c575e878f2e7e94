"""Inspections and looks at blocks, as the process sees them that asked for them. No torch."""

import asyncio
import time
from collections.abc import Callable

from sirocco.engine.block_view import BlockView
from sirocco.engine.inspection.request import InspectionRequest
from sirocco.engine.process.messages import (
    Abort,
    BlocksSeen,
    Inspect,
    Inspected,
    LookAtBlocks,
    ToEngine,
    error_of,
)
from sirocco.errors import Aborted, OutOfCapacity, SiroccoError
from sirocco.types import FinishReason, TokenLogprob

_MOST_LIVE = 8
"""Inspections of an engine that are live, the waiting ones included."""

_MOST_OF_ACCOUNT = 2
"""… and of one account: one at work, and one that a page has asked for meanwhile."""


class Inspection:
    """An inspection that is live: wait for the whole of it, or abort it.

    Its counts are named as those of a `Generation`: it costs what a prompt costs.

    Attributes:
        following: for each token what follows it, as in `InspectedRows`.
    """

    n_output_tokens = 0
    n_cached_tokens = 0
    ttft_s = None

    def __init__(
        self,
        request: InspectionRequest,
        abort: Callable[[str], None],
        on_over: Callable[["Inspection"], None],
    ) -> None:
        self.request = request
        self.request_id = request.request_id
        self.n_prompt_tokens = len(request.token_ids)
        self.following: list[TokenLogprob] = []
        self.finish_reason: FinishReason | None = None
        self.error: SiroccoError | None = None
        self._planes = [bytearray() for _ in range(request.n_planes)]
        self._started_s = time.monotonic()
        self._abort = abort
        self._on_over = on_over
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was asked for."""
        return time.monotonic() - self._started_s

    @property
    def attention(self) -> bytes:
        """The maps so far, [planes, S, S] when it is whole: layer by layer, head by head."""
        return b"".join(self._planes)

    async def whole(self) -> None:
        """Wait until it is whole. Raises: SiroccoError if it breaks off."""
        await self._end
        if self.error is not None:
            raise self.error

    def abort(self) -> None:
        """End it, any number of times."""
        if self.finish_reason is None:
            self._abort(self.request_id)

    def deliver(self, part: Inspected) -> None:
        """Take a piece of it, in the event loop's thread."""
        self.following += part.following
        n_bytes = len(part.attention) // max(1, len(self._planes))
        for index, plane in enumerate(self._planes):
            plane.extend(part.attention[index * n_bytes : (index + 1) * n_bytes])
        if part.error is not None:
            self.break_off(error_of(part.error))
        elif part.is_last:
            self._over(FinishReason.STOP)

    def break_off(self, error: SiroccoError) -> None:
        """End it early, in the event loop's thread."""
        if self.finish_reason is None:
            self.error = error
            self._over(FinishReason.ABORT)

    def _over(self, reason: FinishReason) -> None:
        self.finish_reason = reason
        self._on_over(self)
        if not self._end.done():
            self._end.set_result(None)


class Inspections:
    """The inspections of one engine that are live.

    Args:
        send: takes a message to the engine.
    """

    def __init__(self, send: Callable[[ToEngine], None]) -> None:
        self._send = send
        self._live: dict[str, Inspection] = {}

    @property
    def n_live(self) -> int:
        """Inspections that are not over."""
        return len(self._live)

    def check_room(self, account: str) -> None:
        """Refuse one more for the account, if it is to be. Raises: OutOfCapacity."""
        mine = sum(live.request.account == account for live in self._live.values())
        if mine >= _MOST_OF_ACCOUNT:
            raise OutOfCapacity(f"{mine} inspections of the account are at work or wait")
        if len(self._live) >= _MOST_LIVE:
            raise OutOfCapacity(f"{len(self._live)} inspections are at work or wait")

    def submit(
        self, request: InspectionRequest, on_over: Callable[[Inspection], None]
    ) -> Inspection:
        """Let an inspection wait for its turn. Raises: OutOfCapacity."""
        self.check_room(request.account)
        inspection = Inspection(request, self._abort, on_over)
        self._live[request.request_id] = inspection
        self._send(Inspect(request))
        return inspection

    def deliver(self, part: Inspected) -> None:
        """Hand a piece to its inspection, if that is still wanted."""
        inspection = self._live.get(part.request_id)
        if inspection is None:
            return
        if part.is_last:
            del self._live[part.request_id]
        inspection.deliver(part)

    def break_off(self, error: SiroccoError) -> None:
        """End every live inspection with this error."""
        for request_id in list(self._live):
            self._live.pop(request_id).break_off(error)
            self._send(Abort(request_id))

    def _abort(self, request_id: str) -> None:
        inspection = self._live.pop(request_id, None)
        if inspection is not None:
            self._send(Abort(request_id))
            inspection.break_off(Aborted("the caller left before the inspection was whole"))


class BlockLooks:
    """Looks at the blocks of requests: one question for each request, however many ask it.

    Args:
        send: takes a message to the engine.
    """

    def __init__(self, send: Callable[[ToEngine], None]) -> None:
        self._send = send
        self._asked: dict[str, asyncio.Future[BlockView]] = {}

    async def look(self, request_id: str) -> BlockView:
        """Ask the engine, which answers between two steps. Raises: SiroccoError of `break_off`."""
        asked = self._asked.get(request_id)
        if asked is None:
            asked = asyncio.get_running_loop().create_future()
            self._asked[request_id] = asked
            self._send(LookAtBlocks(request_id))
        return await asyncio.shield(asked)

    def deliver(self, seen: BlocksSeen) -> None:
        """Tell those who asked."""
        asked = self._asked.pop(seen.request_id, None)
        if asked is not None and not asked.done():
            asked.set_result(seen.view)

    def break_off(self, error: SiroccoError) -> None:
        """Tell all who asked that there will be no answer."""
        for asked in self._asked.values():
            asked.set_exception(error)
            asked.exception()  # nobody may be left who wants to know
        self._asked.clear()
