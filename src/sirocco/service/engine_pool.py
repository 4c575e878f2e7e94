"""Engines that run: each model's is started by its first request, and only once."""

import asyncio
from collections.abc import Callable, Iterator

import structlog

from sirocco.catalog import CatalogEntry
from sirocco.engine.async_engine import AsyncEngine
from sirocco.engine.engine import Engine

log = structlog.get_logger(__name__)


class EnginePool:
    """The engine of each model; use it in one event loop.

    Args:
        load: makes the engine of a catalogue entry; it blocks, so it runs in a thread.
    """

    def __init__(self, load: Callable[[CatalogEntry], Engine]) -> None:
        self._load = load
        self._engines: dict[str, asyncio.Task[AsyncEngine]] = {}

    @property
    def running(self) -> list[str]:
        """Ids of the models whose engines answer."""
        return [model_id for model_id, engine in self._started() if engine.is_running]

    @property
    def stopped(self) -> list[str]:
        """Ids of the models whose engines were started and do not answer any more."""
        return [model_id for model_id, engine in self._started() if not engine.is_running]

    async def get(self, entry: CatalogEntry) -> AsyncEngine:
        """Return the model's engine, after starting it if need be.

        Callers that come while it starts wait for the same start; one that leaves does not stop
        it. A start that failed is tried again by the next caller.

        Raises: SetupError if the checkpoint cannot be loaded.
        """
        task = self._engines.get(entry.model_id)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.create_task(self._start(entry))
            self._engines[entry.model_id] = task
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Stop every engine; answers that are live end with an error."""
        for task in self._engines.values():
            (result,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(result, AsyncEngine):
                await result.aclose()
        self._engines.clear()

    def _started(self) -> Iterator[tuple[str, AsyncEngine]]:
        for model_id, task in self._engines.items():
            if task.done() and task.exception() is None:
                yield model_id, task.result()

    async def _start(self, entry: CatalogEntry) -> AsyncEngine:
        started_at = asyncio.get_running_loop().time()
        log.info("engine starts", model_id=entry.model_id)
        engine = AsyncEngine(await asyncio.to_thread(self._load, entry))
        engine.start()
        elapsed_s = asyncio.get_running_loop().time() - started_at
        log.info("engine is ready", model_id=entry.model_id, start_s=round(elapsed_s, 2))
        return engine
