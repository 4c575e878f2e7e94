"""Engines that run: each model's is started by its first request, and only once."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sirocco.catalog import CatalogEntry
from sirocco.engine.process.client import EngineClient
from sirocco.engine.process.launch import Launched
from sirocco.errors import SiroccoError, Unavailable
from sirocco.service.engine_keeper import EngineKeeper, Patience
from sirocco.service.prompt_size import longest_token
from sirocco.tokenizer import Tokenizer, load_tokenizer

Launch = Callable[[CatalogEntry], Launched]
"""Begins to start the engine of a catalogue entry, and returns at once."""


@dataclass(frozen=True, slots=True)
class StartedModel:
    """A model whose engine was started.

    Attributes:
        longest_token_bytes: of its vocabulary.
    """

    tokenizer: Tokenizer
    longest_token_bytes: int
    keeper: EngineKeeper

    async def engine(self) -> EngineClient:
        """Return the engine, or wait for the one that replaces it. Raises: Unavailable."""
        return await self.keeper.engine()


def _tokenizer_of(entry: CatalogEntry) -> Tokenizer:
    return load_tokenizer(entry.folder)


class EnginePool:
    """The engine of each model; use it in one event loop.

    Args:
        load_tokenizer: of a catalogue entry; it blocks, so it runs in a thread.
    """

    def __init__(
        self,
        launch: Launch,
        patience: Patience | None = None,
        *,
        load_tokenizer: Callable[[CatalogEntry], Tokenizer] = _tokenizer_of,
    ) -> None:
        self._launch = launch
        self._patience = patience or Patience()
        self._load_tokenizer = load_tokenizer
        self._keepers: dict[str, EngineKeeper] = {}
        self._starts: dict[str, asyncio.Task[StartedModel]] = {}
        self._is_closed = False

    @property
    def running(self) -> list[str]:
        """Ids of the models whose engines answer."""
        return [model_id for model_id, keeper in self.started() if keeper.is_running]

    @property
    def stopped(self) -> list[str]:
        """Ids of the models whose engines were started and do not answer now."""
        return [model_id for model_id, keeper in self.started() if keeper.is_down]

    @property
    def n_live(self) -> int:
        """Answers that are not over, of all models."""
        return sum(keeper.n_live for keeper in self._keepers.values())

    def find_live(self, request_id: str, account_id: str) -> EngineClient | None:
        """Find the engine in which a live answer of the account has this id."""
        engines = (keeper.running_engine for keeper in self._keepers.values())
        mine = (e for e in engines if e is not None and e.is_live_of(request_id, account_id))
        return next(mine, None)

    def running_engine(self, entry: CatalogEntry) -> EngineClient | None:
        """Return the engine of a model if it is there and takes requests; start nothing."""
        task = self._starts.get(_key(entry))
        if task is None or not task.done() or task.exception() is not None:
            return None
        return task.result().keeper.running_engine

    async def get(self, entry: CatalogEntry) -> StartedModel:
        """Return the model, after starting its engine if need be.

        Callers that come while it starts wait for the same start; one that leaves does not stop
        it. A start that failed is tried again by the next caller.

        Raises: SetupError if the checkpoint cannot be loaded; EngineFault if the engine's process
            ends instead; Unavailable after `refuse` or `aclose`.
        """
        if self._is_closed:
            raise Unavailable("The server is shutting down.")
        key = _key(entry)
        task = self._starts.get(key)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.create_task(self._start(entry))
            self._starts[key] = task
        return await asyncio.shield(task)

    async def refuse(self) -> None:
        """Start nothing any more; those who wait for an engine are told. Others go on."""
        self._is_closed = True
        waited_for = [keeper for keeper in self._keepers.values() if not keeper.is_running]
        await asyncio.gather(*(keeper.aclose() for keeper in waited_for))

    def break_off(self, error: SiroccoError) -> None:
        """End every live answer with this error."""
        for keeper in self._keepers.values():
            keeper.break_off(error)

    async def aclose(self) -> None:
        """Stop every engine, and every start of one; answers that are live end with an error."""
        self._is_closed = True
        await asyncio.gather(*(keeper.aclose() for keeper in self._keepers.values()))
        await asyncio.gather(*self._starts.values(), return_exceptions=True)
        self._starts.clear()
        self._keepers.clear()

    def started(self) -> Iterator[tuple[str, EngineKeeper]]:
        """Give the keeper of each engine that was started, with its model's id."""
        for model_id, task in self._starts.items():
            if task.done() and task.exception() is None:
                yield model_id, task.result().keeper

    async def _start(self, entry: CatalogEntry) -> StartedModel:
        tokenizer = await asyncio.to_thread(self._load_tokenizer, entry)
        longest_bytes = await asyncio.to_thread(longest_token, tokenizer)
        if self._is_closed:
            raise Unavailable("The server is shutting down.")
        keeper = EngineKeeper(entry.model_id, lambda: self._launch(entry), self._patience)
        self._keepers[_key(entry)] = keeper
        await keeper.start()
        return StartedModel(tokenizer, longest_bytes, keeper)


def _key(entry: CatalogEntry) -> str:
    """Name an engine: models of the catalogue that share a checkpoint share its engine, too."""
    return entry.weights_of or entry.model_id
