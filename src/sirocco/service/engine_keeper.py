"""One model's engine, kept alive: started, watched, and replaced when it is dead."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from sirocco.engine.process.client import EngineClient
from sirocco.engine.process.launch import Launched
from sirocco.errors import SiroccoError, Unavailable
from sirocco.service.engine_watch import EngineWatch

log = structlog.get_logger(__name__)

_TICK_S = 0.2
_SILENCE_S = 2.5
"""Five heartbeats."""
_STOP_S = 0.3
"""What a step in flight gets to end; longer ones are cut, since nobody waits for them."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 30.0
_HEALTHY_S = 60.0
_HOPELESS = 3
"""Failures one after the other, each within a minute of the last start."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what.

    Attributes:
        queue_timeout_s: for an engine that is being replaced, and for a turn.
        step_timeout_s: for one step of an engine.
    """

    queue_timeout_s: float = 60.0
    step_timeout_s: float = 120.0


class EngineKeeper:
    """The engine of one model, and the ones that follow it; use it in one event loop.

    Args:
        launch: begins to start an engine, and returns at once.

    Attributes:
        n_restarts: engines that took a dead one's place.
    """

    def __init__(self, model_id: str, launch: Callable[[], Launched], patience: Patience) -> None:
        self._model_id = model_id
        self._launch = launch
        self._patience = patience
        self._launched: Launched | None = None
        self._engine: EngineClient | None = None
        self._changed = asyncio.Condition()
        self._keeping: asyncio.Task[None] | None = None
        self._n_failures = 0
        self.n_restarts = 0
        self._next_try_s = 0.0
        self._is_closing = False

    @property
    def is_running(self) -> bool:
        """An engine is there and takes requests."""
        return self.running_engine is not None

    @property
    def running_engine(self) -> EngineClient | None:
        """The engine that takes requests now, if there is one."""
        return self._engine if self._engine is not None and self._engine.is_running else None

    @property
    def is_down(self) -> bool:
        """It was started once, and there is no engine now."""
        return self._keeping is not None and not self.is_running

    @property
    def pid(self) -> int | None:
        """Of the engine's process."""
        return self._launched.pid if self._launched is not None else None

    @property
    def n_live(self) -> int:
        """Answers that are not over."""
        return self._engine.n_live if self._engine is not None else 0

    async def start(self) -> None:
        """Start the first engine and wait until it is loaded, however long that takes.

        Raises: SetupError if it cannot be loaded; EngineFault if its process ends before;
            Unavailable if it is closed meanwhile.
        """
        engine = await self._started()
        self._engine = engine
        self._keeping = asyncio.create_task(self._keep(engine))

    async def engine(self) -> EngineClient:
        """Return the engine, or wait for the next one.

        Raises: Unavailable if it is not there in time, or has failed too often lately.
        """
        if self._engine is None or not self._engine.is_running:
            try:
                async with asyncio.timeout(self._patience.queue_timeout_s), self._changed:
                    await self._changed.wait_for(lambda: self.is_running or self._is_hopeless)
            except TimeoutError:
                raise self._unavailable() from None
        if self._engine is None or not self._engine.is_running:
            raise self._unavailable()
        return self._engine

    def break_off(self, error: SiroccoError) -> None:
        """End every live answer with this error."""
        if self._engine is not None:
            self._engine.break_off(error)

    async def aclose(self) -> None:
        """End the engine, or the start of one; answers that are live end with an error."""
        self._is_closing = True
        if self._engine is not None:
            self._engine.stop()
            await asyncio.wait({self._engine.lost}, timeout=_STOP_S)
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._bury()
        await self._tell()

    @property
    def _is_hopeless(self) -> bool:
        return self._is_closing or self._n_failures >= _HOPELESS

    def _unavailable(self) -> Unavailable:
        if self._is_closing:
            return Unavailable("The server is shutting down.")
        left_s = self._next_try_s - asyncio.get_running_loop().time()
        text = f"The engine of {self._model_id} has failed, and is being started again."
        return Unavailable(text, retry_after_s=math.ceil(left_s))

    async def _keep(self, engine: EngineClient) -> None:
        """Replace each engine that dies with a new one. This is a task."""
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            reason = await _death_of(engine, self._patience.step_timeout_s)
            self._engine = None
            engine.hang_up(reason)
            ended = await self._bury()
            if self._is_closing:
                return
            log.error("engine died", model_id=self._model_id, reason=reason, ended=ended)
            if loop.time() - began_s > _HEALTHY_S:
                self._n_failures = 0
            engine = await self._successor()
            self._engine = engine
            self.n_restarts += 1
            await self._tell()

    async def _successor(self) -> EngineClient:
        """Try to start an engine until one starts, with longer and longer pauses."""
        while True:
            delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2**self._n_failures)
            self._n_failures += 1
            self._next_try_s = asyncio.get_running_loop().time() + delay_s
            await self._tell()
            await asyncio.sleep(delay_s)
            try:
                return await self._started()
            except SiroccoError as error:
                reason = str(error)
                log.error("engine does not start", model_id=self._model_id, reason=reason)  # noqa: TRY400 - foreseen
            except Exception:  # whatever it is, the model shall come back
                log.exception("engine does not start", model_id=self._model_id)

    async def _started(self) -> EngineClient:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        self._launched = self._launch()
        log.info("engine starts", model_id=self._model_id, pid=self.pid)
        try:
            engine = await EngineClient.connected(
                self._launched.socket, queue_timeout_s=self._patience.queue_timeout_s
            )
        except BaseException:
            await self._bury()
            if self._is_closing:
                raise self._unavailable() from None
            raise
        start_s = round(loop.time() - started_s, 2)
        log.info("engine is ready", model_id=self._model_id, pid=self.pid, start_s=start_s)
        return engine

    async def _bury(self) -> str | None:
        """Make sure that the engine which was started last has ended; say how."""
        launched = self._launched
        if launched is None:
            return None
        launched.kill()
        ended = await asyncio.to_thread(launched.wait)
        self._launched = None
        return ended

    async def _tell(self) -> None:
        """Let those look again who wait for an engine."""
        async with self._changed:
            self._changed.notify_all()


async def _death_of(engine: EngineClient, step_timeout_s: float) -> str:
    """Wait until an engine is dead; say why."""
    loop = asyncio.get_running_loop()
    watch = EngineWatch(silence_s=_SILENCE_S, step_timeout_s=step_timeout_s, tick_s=_TICK_S)
    looked_s = loop.time()
    while not engine.lost.done():
        await asyncio.wait({engine.lost}, timeout=_TICK_S)
        now_s = loop.time()
        reason = watch.look(now_s - looked_s, n_heard=engine.n_heard, n_steps=engine.n_steps,
                            has_work=engine.has_work)  # fmt: skip
        looked_s = now_s
        if reason is not None:
            return reason
    return engine.lost.result()
