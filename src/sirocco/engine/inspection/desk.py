"""Inspections that wait, and the one that is at work: a little at a time, between steps.

An inspection helps a person to understand, and nobody waits for it as for an answer. While
answers run it gets a small share of the time, in pieces that are shorter than a step.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sirocco.engine.inspection.request import InspectionRequest
from sirocco.engine.inspection.run import InspectedRows, InspectionRun
from sirocco.errors import InvalidInput, OutOfCapacity, SiroccoError, TimedOut
from sirocco.model.transformer import Transformer

_PIECE_S = 0.05
"""Seconds that a piece should take: what it delays a step."""

_FEWEST_ROWS = 16
"""Tokens of a piece in any case. Fewer take nearly as long, since the weights are read anyway."""

_REST = 3.0
"""Times as long as a piece took, the steps of answers go first: they keep three quarters."""


@dataclass(frozen=True, slots=True)
class InspectedPart:
    """What became of an inspection.

    Attributes:
        rows: what a piece of it gave; None if it ended without one.
        is_last: nothing more of it will come.
        error: why it ended early, if it did.
    """

    request_id: str
    rows: InspectedRows | None = None
    is_last: bool = False
    error: SiroccoError | None = None


@dataclass(slots=True)
class _Order:
    request: InspectionRequest
    arrived_s: float
    run: InspectionRun | None = None


class InspectionDesk:
    """The inspections of one engine, first come, first served; not thread-safe.

    Args:
        clock: seconds.
    """

    def __init__(
        self, model: Transformer, *, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._model = model
        self._clock = clock
        self._orders: deque[_Order] = deque()
        self._rest_until_s = 0.0
        self._rows_per_s = 0.0

    @property
    def has_work(self) -> bool:
        """Some inspection is not finished."""
        return bool(self._orders)

    @property
    def next_id(self) -> str:
        """Id of the inspection whose piece is next; there must be one."""
        return self._orders[0].request.request_id

    def add(self, request: InspectionRequest) -> None:
        """Let an inspection wait for its turn. Raises: InvalidInput."""
        if self._model.is_part:
            raise InvalidInput("a model that several GPUs share cannot be looked into")
        shape = self._model.config
        request.check(n_layers=shape.n_layers, n_heads=shape.n_heads)
        self._orders.append(_Order(request, self._clock()))

    def abort(self, request_id: str) -> None:
        """Forget an inspection, whatever it is doing; an unknown one is no fault."""
        self._orders = deque(o for o in self._orders if o.request.request_id != request_id)

    def is_due(self, *, others_wait: bool) -> bool:
        """Tell whether a piece may run now.

        Args:
            others_wait: the engine has steps to do.
        """
        return self.has_work and (not others_wait or self._clock() >= self._rest_until_s)

    def advance(self) -> InspectedPart:
        """Do one piece of the oldest inspection. What goes wrong ends that inspection alone."""
        order = self._orders[0]
        request_id = order.request.request_id
        try:
            rows = self._piece_of(order)
        except SiroccoError as error:
            self._orders.popleft()
            return InspectedPart(request_id, is_last=True, error=error)
        except BaseException:
            self._orders.popleft()
            raise
        assert order.run is not None
        is_last = not order.run.n_left
        if is_last:
            self._orders.popleft()
        return InspectedPart(request_id, rows, is_last)

    def _piece_of(self, order: _Order) -> InspectedRows:
        started_s = self._clock()
        _check_time(order, started_s)
        order.run = order.run or InspectionRun(self._model, order.request)
        before = order.run.n_done
        rows = order.run.advance(max(_FEWEST_ROWS, int(self._rows_per_s * _PIECE_S)))
        elapsed_s = self._clock() - started_s
        self._rows_per_s = (order.run.n_done - before) / max(elapsed_s, 1e-6)
        self._rest_until_s = self._clock() + _REST * elapsed_s
        return rows


def _check_time(order: _Order, now_s: float) -> None:
    """Raise if an inspection's time is over: OutOfCapacity before it began, TimedOut after."""
    request, waited_s = order.request, now_s - order.arrived_s
    if order.run is None and request.wait_limit_s is not None and waited_s >= request.wait_limit_s:
        raise OutOfCapacity(f"the inspection could not begin within {request.wait_limit_s:g} s")
    if request.time_limit_s is not None and waited_s >= request.time_limit_s:
        raise TimedOut(
            f"the inspection was not whole within its time limit of {request.time_limit_s:g} s"
        )
