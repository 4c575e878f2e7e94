"""Grammars are begun beside the steps, so that one that takes long holds up no other answer."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from sirocco.engine.request import Request
from sirocco.errors import EngineFault, SiroccoError

if TYPE_CHECKING:  # see `hosting`
    from sirocco.engine.sampling.grammar import GrammarState

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Begun:
    """A request whose grammar was begun. Attributes: error: why it could not be."""

    request: Request
    grammar: "GrammarState | None" = None
    error: SiroccoError | None = None


class GrammarDesk:
    """Begins the grammars of requests in a thread of its own, in the order in which they came.

    Args:
        begin: gives a request's grammar, begun; called in that thread alone.
        hand_over: takes what is done, in that thread; a request that is aborted comes, too.
    """

    def __init__(
        self, begin: "Callable[[Request], GrammarState | None]", hand_over: Callable[[Begun], None]
    ) -> None:
        self._begin, self._hand_over = begin, hand_over
        self._waiting: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._live: set[str] = set()
        self._thread: threading.Thread | None = None

    def take(self, request: Request) -> None:
        """Let a request's grammar be begun."""
        self._live.add(request.request_id)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sirocco-grammars", daemon=True)
            self._thread.start()
        self._waiting.put(request)

    def give_up(self, request_id: str) -> bool:
        """Forget a request; True if it was here, and has not been fetched."""
        if request_id not in self._live:
            return False
        self._live.remove(request_id)
        return True

    def close(self) -> None:
        """End the thread when it is done with what it has."""
        self._waiting.put(None)

    def _work(self) -> None:
        while (request := self._waiting.get()) is not None:
            if request.request_id in self._live:
                self._hand_over(self._begun(request))

    def _begun(self, request: Request) -> Begun:
        try:
            return Begun(request, self._begin(request))
        except SiroccoError as error:
            return Begun(request, error=error)
        except Exception:
            log.exception("a grammar could not be begun", request_id=request.request_id)
            fault = EngineFault("the engine could not take the request")
            return Begun(request, error=fault)
