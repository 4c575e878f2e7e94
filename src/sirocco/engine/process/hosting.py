"""An engine behind a socket: requests come in, pieces go out once per step.

One thread steps and alone touches the engine, so nothing in it needs a lock. A second reads the
socket, a third sends heartbeats: neither waits for a step, which may take many seconds. A fourth
begins grammars, for which no step waits.
"""

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from sirocco.engine.process.channel import ChannelError, Connection
from sirocco.engine.process.grammar_desk import Begun, GrammarDesk
from sirocco.engine.process.messages import (
    Abort,
    BlocksSeen,
    Failed,
    Heartbeat,
    Inspect,
    Inspected,
    Load,
    LookAtBlocks,
    Piece,
    Pieces,
    Ready,
    Stop,
    Submit,
    ToEngine,
    error_text,
)
from sirocco.errors import EngineFault, SetupError, SiroccoError
from sirocco.types import FinishReason

if TYPE_CHECKING:  # torch is slow to import, and the other side may be gone before it is there
    from sirocco.engine.engine import Engine
    from sirocco.engine.engine import Piece as EnginePiece
    from sirocco.engine.inspection.desk import InspectedPart

log = structlog.get_logger(__name__)

HEARTBEAT_S = 0.5

_MOST_FAULTS = 3
"""Steps that may fail one after the other: a device that is beyond help fails in each."""


class EngineHost:
    """Serves one engine over one connection, in the thread that calls `run`.

    Args:
        on_hang_up: called in the reading thread when the other side is gone; it may end the
            process, even in the middle of a step. Without it `run` returns after the step.
    """

    def __init__(
        self, connection: Connection, *, on_hang_up: Callable[[], None] | None = None
    ) -> None:
        self._connection = connection
        self._inbox: queue.SimpleQueue[ToEngine | Begun] = queue.SimpleQueue()
        self._on_hang_up = on_hang_up or (lambda: self._inbox.put(Stop()))
        self._over = threading.Event()
        self._n_steps = 0
        self._n_faults = 0

    def run(self, load: Callable[[], "Engine"]) -> None:
        """Load an engine and serve it until it is told to stop, or nobody listens.

        Raises: AssertionError if the engine's books are wrong, RuntimeError if its steps fail
            again and again: it must not serve any more, and a new one should.
        """
        reading = threading.Thread(target=self._read, name="sirocco-inbox", daemon=True)
        reading.start()
        engine = self._loaded(load)
        if engine is None:
            return
        beating = threading.Thread(target=self._beat, args=(engine,), name="sirocco-heartbeat",
                                   daemon=True)  # fmt: skip
        beating.start()
        self._grammars = GrammarDesk(engine.begun_grammar, self._inbox.put)
        try:
            self._work(engine)
        except OSError:
            pass  # nobody listens any more
        finally:
            self._over.set()
            self._grammars.close()
            del self._grammars  # it holds the engine
            beating.join()

    def _loaded(self, load: Callable[[], "Engine"]) -> "Engine | None":
        """Load the engine and say how it went."""
        try:
            engine = load()
        except SetupError as error:
            self._connection.send(Failed(error_text(error)))
            return None
        except Exception:
            log.exception("the engine could not be loaded")
            self._connection.send(Failed(error_text(SetupError("the engine could not be loaded"))))
            return None
        config = engine.config
        ready = Ready(engine.limits, config.max_running, config.max_waiting, engine.shape)
        self._connection.send(ready)
        return engine

    def _read(self) -> None:
        """Put what comes into the inbox. This is a thread."""
        try:
            while (message := self._connection.receive()) is not None:
                self._inbox.put(message)
        except ChannelError as error:
            log.warning("the engine was sent what is no message", reason=str(error))
        self._on_hang_up()

    def _beat(self, engine: "Engine") -> None:
        """Tell that the process lives, whatever its step is doing. This is a thread."""
        try:
            while not self._over.wait(HEARTBEAT_S):
                beat = Heartbeat(self._n_steps, engine.has_work, _load_of(engine))
                self._connection.send(beat)
        except OSError:
            return  # the reading thread sees it, too

    def _work(self, engine: "Engine") -> None:
        """Take what came in, then step, then inspect; sleep while there is nothing to do."""
        is_checked = True
        while True:
            if not engine.has_work and not is_checked:
                # Idle is the moment to look: a corrupted block table must not serve anyone.
                engine.scheduler.check_integrity()
                is_checked = True
            if not self._take_in(engine):
                return
            if engine.has_work:
                self._step(engine)
                is_checked = False
            if engine.inspections.is_due(others_wait=engine.has_work):
                self._inspect(engine)

    def _step(self, engine: "Engine") -> None:
        try:
            pieces = engine.step()
        except Exception:
            log.exception("the engine failed in a step; every answer in flight ends")
            self._drop_all(engine)
        else:
            self._n_faults = 0
            self._send(engine, [_written(piece) for piece in pieces])
        self._n_steps += 1

    def _inspect(self, engine: "Engine") -> None:
        """Do a piece of an inspection; what goes wrong in it is no fault of the engine."""
        request_id = engine.inspections.next_id
        try:
            part = engine.inspections.advance()
        except Exception:
            log.exception("an inspection failed", request_id=request_id)
            self._refuse_inspection(request_id, EngineFault("the engine failed to look inside"))
        else:
            self._connection.send(_written_part(part))

    def _refuse_inspection(self, request_id: str, error: SiroccoError) -> None:
        self._connection.send(Inspected(request_id, is_last=True, error=error_text(error)))

    def _take_in(self, engine: "Engine") -> bool:
        """Do what is in the inbox, and wait for it if there is no other work; False to stop."""
        pieces: list[Piece] = []
        try:
            is_idle = not engine.has_work and not engine.inspections.has_work
            message = self._inbox.get(block=is_idle)
            while not isinstance(message, Stop):
                pieces += self._done(engine, message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            self._send(engine, pieces)
            return True
        return False

    def _done(self, engine: "Engine", message: ToEngine | Begun) -> list[Piece]:
        """Do what a message asks; give the pieces that are to be sent at once."""
        if isinstance(message, Abort):
            return self._aborted(engine, message.request_id)
        if isinstance(message, Submit):
            if message.request.sampling.grammar is None:
                return self._added(engine, Begun(message.request))
            self._grammars.take(message.request)
            return []
        if isinstance(message, Begun):
            is_wanted = self._grammars.give_up(message.request.request_id)
            return self._added(engine, message) if is_wanted else []
        if isinstance(message, Inspect):
            self._order(engine, message)
            return []
        if isinstance(message, LookAtBlocks):
            view = engine.view_blocks(message.request_id)
            self._connection.send(BlocksSeen(message.request_id, view))
            return []
        raise AssertionError(f"{type(message).__name__} comes once, before all others")

    def _order(self, engine: "Engine", message: Inspect) -> None:
        try:
            engine.inspections.add(message.request)
        except SiroccoError as error:
            self._refuse_inspection(message.request.request_id, error)

    def _aborted(self, engine: "Engine", request_id: str) -> list[Piece]:
        engine.inspections.abort(request_id)
        if self._grammars.give_up(request_id):
            return [Piece(request_id, finish_reason=FinishReason.ABORT, is_last=True)]
        piece = engine.abort(request_id)
        return [] if piece is None else [_written(piece)]

    def _added(self, engine: "Engine", begun: Begun) -> list[Piece]:
        request_id = begun.request.request_id
        if begun.error is not None:
            return [_broken_off(request_id, begun.error)]
        try:
            engine.add(begun.request, begun.grammar)
        except SiroccoError as error:
            return [_broken_off(request_id, error)]
        except Exception:
            log.exception("a request could not be added", request_id=request_id)
            return [_broken_off(request_id, EngineFault("the engine could not take the request"))]
        return []

    def _drop_all(self, engine: "Engine") -> None:
        self._n_faults += 1
        request_ids = engine.live_ids
        for request_id in request_ids:
            engine.abort(request_id)
        fault = EngineFault("the engine failed in a step")
        self._send(engine, [_broken_off(request_id, fault) for request_id in request_ids])
        if self._n_faults >= _MOST_FAULTS:
            raise RuntimeError(f"{self._n_faults} steps failed one after the other")

    def _send(self, engine: "Engine", pieces: list[Piece]) -> None:
        if pieces:
            self._connection.send(Pieces(pieces, _load_of(engine)))


def _load_of(engine: "Engine") -> Load:
    """Look at the counts; from another thread they are good for a moment."""
    scheduler = engine.scheduler
    blocks = scheduler.blocks
    return Load(
        len(scheduler.waiting),
        len(scheduler.running),
        scheduler.n_runnable,
        blocks.n_free,
        blocks.n_blocks,
    )


def _written(piece: "EnginePiece") -> Piece:
    return Piece(
        piece.request_id,
        piece.text,
        piece.token_ids,
        piece.finish_reason,
        piece.n_cached_tokens,
        piece.index,
        piece.is_last,
        piece.logprobs,
        None if piece.error is None else error_text(piece.error),
    )


def _written_part(part: "InspectedPart") -> Inspected:
    error = None if part.error is None else error_text(part.error)
    if part.rows is None:
        return Inspected(part.request_id, is_last=part.is_last, error=error)
    rows = part.rows
    return Inspected(part.request_id, rows.attention, rows.following, part.is_last, error)


def _broken_off(request_id: str, error: SiroccoError) -> Piece:
    return Piece(
        request_id, finish_reason=FinishReason.ABORT, is_last=True, error=error_text(error)
    )
