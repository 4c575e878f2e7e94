"""One engine per model, started by its first request, shared by all."""

import asyncio
import threading
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import torch
from tests.inprocess import EngineThread

from sirocco.catalog import CatalogEntry
from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine
from sirocco.engine.request import Request
from sirocco.errors import Aborted, CheckpointError, EngineFault, Unavailable
from sirocco.model.config import ModelConfig
from sirocco.model.random_model import random_model
from sirocco.service.engine_keeper import Patience
from sirocco.service.engine_pool import EnginePool
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.types import SamplingParams

TINY = ModelConfig(
    vocab_size=259, dim=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, hidden_dim=24,
    max_seq_len=64,
)  # fmt: skip
A, B = (CatalogEntry(f"@me/{name}", None, Path("nowhere")) for name in "ab")
GREEDY = SamplingParams(temperature=0.0, max_tokens=5, ignore_eos=True)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Loader:
    """Makes tiny engines, when the test lets it; the first `n_failures` times it fails."""

    def __init__(self, n_failures: int = 0, *, is_open: bool = True) -> None:
        self.loaded: list[str] = []
        self.n_failures = n_failures
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.threads: list[EngineThread] = []
        if is_open:
            self.gate.set()

    def __call__(self, entry: CatalogEntry) -> EngineThread:
        self.threads.append(EngineThread(lambda: self.load(entry)))
        return self.threads[-1]

    def load(self, entry: CatalogEntry) -> Engine:
        self.loaded.append(entry.model_id)
        self.entered.set()
        assert self.gate.wait(30)
        if len(self.loaded) <= self.n_failures:
            raise CheckpointError("no weights")
        model = random_model(TINY, seed=1)
        return Engine(model, ByteTokenizer(), EngineConfig(kv_cache_bytes=1 << 20))


def made_pool(launch, **patience):
    return EnginePool(launch, Patience(**patience), load_tokenizer=lambda _: ByteTokenizer())


@asynccontextmanager
async def pool_of(loader, **patience):
    pool = made_pool(loader, **patience)
    try:
        yield pool
    finally:
        loader.gate.set()
        await pool.aclose()


async def entered(loader):
    assert await asyncio.to_thread(loader.entered.wait, 10)


def asked(sampling=GREEDY):
    return Request(str(uuid.uuid4()), [5, 6, 7], sampling)


async def answer(model):
    engine = await model.engine()
    return [t async for piece in engine.submit(asked()) for t in piece.token_ids]


async def happened(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


def test_an_engine_from_the_pool_answers():
    async def scenario():
        async with pool_of(Loader()) as pool:
            return await answer(await pool.get(A))

    assert len(asyncio.run(scenario())) == 5


def test_nothing_is_loaded_before_the_first_request():
    async def scenario():
        loader = Loader()
        async with pool_of(loader) as pool:
            assert (loader.loaded, pool.running, pool.stopped) == ([], [], [])
            await pool.get(A)
            assert loader.loaded == ["@me/a"]

    asyncio.run(scenario())


def test_many_callers_at_once_share_one_start():
    async def scenario():
        loader = Loader(is_open=False)
        async with pool_of(loader) as pool:
            callers = [asyncio.create_task(pool.get(A)) for _ in range(20)]
            await entered(loader)
            late = asyncio.create_task(pool.get(A))
            await asyncio.sleep(0)
            loader.gate.set()
            engines = await asyncio.gather(*callers, late)
            again = await pool.get(A)
            return loader.loaded, {id(engine) for engine in [*engines, again]}

    loaded, engines = asyncio.run(scenario())
    assert loaded == ["@me/a"]
    assert len(engines) == 1


def test_each_model_has_an_engine_of_its_own():
    async def scenario():
        loader = Loader()
        async with pool_of(loader) as pool:
            a, b = await asyncio.gather(pool.get(A), pool.get(B))
            return a is b, sorted(loader.loaded), sorted(pool.running)

    assert asyncio.run(scenario()) == (False, ["@me/a", "@me/b"], ["@me/a", "@me/b"])


def test_a_model_that_starts_holds_up_no_other():
    async def scenario():
        loader = Loader(is_open=False)

        def load(entry):
            return loader(entry) if entry is A else Loader()(entry)

        pool = made_pool(load)
        slow = asyncio.create_task(pool.get(A))
        await entered(loader)
        token_ids = await asyncio.wait_for(answer(await pool.get(B)), 10)
        is_waiting = not slow.done()
        loader.gate.set()
        await slow
        await pool.aclose()
        return token_ids, is_waiting

    token_ids, is_waiting = asyncio.run(scenario())
    assert len(token_ids) == 5
    assert is_waiting


def test_a_caller_that_leaves_does_not_stop_the_start():
    async def scenario():
        loader = Loader(is_open=False)
        async with pool_of(loader) as pool:
            leaving, staying = (asyncio.create_task(pool.get(A)) for _ in range(2))
            await entered(loader)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            loader.gate.set()
            model = await staying
            return loader.loaded, model.keeper.is_running

    assert asyncio.run(scenario()) == (["@me/a"], True)


def test_a_start_that_every_caller_left_serves_the_next():
    async def scenario():
        loader = Loader(is_open=False)
        async with pool_of(loader) as pool:
            leaving = asyncio.create_task(pool.get(A))
            await entered(loader)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            loader.gate.set()
            model = await pool.get(A)
            return loader.loaded, model.keeper.is_running

    assert asyncio.run(scenario()) == (["@me/a"], True)


def test_a_failed_start_is_told_to_every_caller_that_waits():
    async def scenario():
        loader = Loader(n_failures=1, is_open=False)
        async with pool_of(loader) as pool:
            callers = [asyncio.create_task(pool.get(A)) for _ in range(3)]
            await entered(loader)
            loader.gate.set()
            return loader.loaded, await asyncio.gather(*callers, return_exceptions=True)

    loaded, failures = asyncio.run(scenario())
    assert loaded == ["@me/a"]
    assert [type(failure) for failure in failures] == [CheckpointError] * 3


def test_a_failed_start_is_tried_again_by_the_next_caller():
    async def scenario():
        loader = Loader(n_failures=2)
        async with pool_of(loader) as pool:
            for _ in range(2):
                with pytest.raises(CheckpointError, match="no weights"):
                    await pool.get(A)
                assert (pool.running, pool.stopped) == ([], [])
            return await answer(await pool.get(A)), loader.loaded, pool.running

    token_ids, loaded, running = asyncio.run(scenario())
    assert len(token_ids) == 5
    assert loaded == ["@me/a"] * 3
    assert running == ["@me/a"]


def test_a_failure_that_nobody_waited_for_is_no_warning():
    """asyncio complains of exceptions that were never retrieved; warnings are errors here."""
    complaints = []

    async def scenario():
        asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))
        loader = Loader(n_failures=1, is_open=False)
        async with pool_of(loader) as pool:
            leaving = asyncio.create_task(pool.get(A))
            await entered(loader)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    asyncio.run(scenario())
    assert complaints == []


def test_a_model_that_starts_is_neither_running_nor_stopped():
    async def scenario():
        loader = Loader(is_open=False)
        async with pool_of(loader) as pool:
            starting = asyncio.create_task(pool.get(A))
            await entered(loader)
            states = [(pool.running, pool.stopped)]
            loader.gate.set()
            await starting
            return [*states, (pool.running, pool.stopped)]

    assert asyncio.run(scenario()) == [([], []), (["@me/a"], [])]


def test_an_engine_that_ends_is_replaced_without_a_request():
    async def scenario():
        loader = Loader()
        async with pool_of(loader) as pool:
            model = await pool.get(A)
            await pool.get(B)
            loader.gate.clear()
            loader.threads[0].kill()
            await happened(lambda: pool.stopped == ["@me/a"])
            while_down = pool.running
            loader.gate.set()
            await happened(lambda: not pool.stopped)
            return while_down, sorted(pool.running), await answer(model), loader.loaded

    while_down, running, token_ids, loaded = asyncio.run(scenario())
    assert while_down == ["@me/b"]
    assert running == ["@me/a", "@me/b"]
    assert len(token_ids) == 5
    assert loaded == ["@me/a", "@me/b", "@me/a"]


def test_live_answers_of_an_engine_that_ends_are_faults():
    async def scenario():
        loader = Loader()
        async with pool_of(loader) as pool:
            engine = await (await pool.get(A)).engine()
            live = engine.submit(asked(SamplingParams(max_tokens=60, ignore_eos=True)))
            loader.threads[0].kill()
            with pytest.raises(EngineFault):
                async for _ in live:
                    pass

    asyncio.run(scenario())


def test_requests_wait_for_the_engine_that_replaces_another():
    async def scenario():
        loader = Loader()
        async with pool_of(loader) as pool:
            model = await pool.get(A)
            loader.gate.clear()
            loader.threads[0].kill()
            await happened(lambda: pool.stopped)
            waiting = [asyncio.create_task(answer(model)) for _ in range(3)]
            await asyncio.sleep(0.01)
            loader.gate.set()
            return await asyncio.gather(*waiting)

    assert [len(token_ids) for token_ids in asyncio.run(scenario())] == [5] * 3


def test_requests_do_not_wait_longer_than_they_may():
    async def scenario():
        loader = Loader()
        async with pool_of(loader, queue_timeout_s=0.05) as pool:
            model = await pool.get(A)
            loader.gate.clear()
            loader.threads[0].kill()
            await happened(lambda: pool.stopped)
            with pytest.raises(Unavailable) as refused:
                await model.engine()
            loader.gate.set()
            return refused.value.retry_after_s

    assert asyncio.run(scenario()) >= 1


def test_requests_are_refused_at_once_when_an_engine_fails_again_and_again():
    async def scenario():
        loader = Loader()
        async with pool_of(loader) as pool:
            model = await pool.get(A)
            loader.n_failures = 1_000_000
            loader.threads[0].kill()
            await happened(lambda: len(loader.loaded) >= 3)
            with pytest.raises(Unavailable) as refused:
                await model.engine()
            loader.n_failures = 0
            await happened(lambda: pool.running)
            return refused.value.retry_after_s, await answer(model)

    retry_after_s, token_ids = asyncio.run(scenario())
    assert 1 <= retry_after_s <= 30
    assert len(token_ids) == 5


def test_an_engine_whose_step_never_ends_is_replaced():
    async def scenario():
        loader = Loader()
        async with pool_of(loader, step_timeout_s=0.3) as pool:
            model = await pool.get(A)
            hanging, release = loader.threads[0].engine, threading.Event()
            assert hanging is not None

            def hang():
                release.wait(30)
                return []

            hanging.step = hang  # type: ignore[method-assign]
            with pytest.raises(EngineFault):
                await answer(model)
            is_down = pool.stopped
            release.set()  # a process would be killed; this one has to come to its end
            return is_down, await answer(model), loader.loaded

    is_down, token_ids, loaded = asyncio.run(scenario())
    assert is_down == ["@me/a"]
    assert len(token_ids) == 5
    assert loaded == ["@me/a", "@me/a"]


def test_closing_stops_every_engine_and_ends_live_answers():
    async def scenario():
        pool = made_pool(Loader())
        models = [await pool.get(A), await pool.get(B)]
        live = (await models[0].engine()).submit(asked(SamplingParams(max_tokens=60)))
        await pool.aclose()
        with pytest.raises(Aborted):
            async for _ in live:
                pass
        return [model.keeper.is_running for model in models], pool.running, pool.stopped

    assert asyncio.run(scenario()) == ([False, False], [], [])


@pytest.mark.parametrize("refuse_first", [False, True], ids=["close", "refuse"])
def test_closing_ends_a_start_and_tells_those_who_wait_for_it(refuse_first):
    threads = set(threading.enumerate())

    async def scenario():
        loader = Loader(is_open=False)
        pool = made_pool(loader)
        starting = asyncio.create_task(pool.get(A))
        await entered(loader)
        closing = asyncio.create_task(pool.refuse() if refuse_first else pool.aclose())
        await asyncio.sleep(0.01)
        loader.gate.set()  # a process would be killed; this one has to come to its end
        await closing
        with pytest.raises(Unavailable):
            await starting
        await pool.aclose()

    asyncio.run(scenario())
    assert set(threading.enumerate()) <= threads


def test_after_closing_nothing_is_started():
    async def scenario():
        loader = Loader()
        pool = made_pool(loader)
        await pool.aclose()
        with pytest.raises(Unavailable):
            await pool.get(A)
        return loader.loaded

    assert asyncio.run(scenario()) == []


def test_closing_after_a_failed_start_is_quiet():
    async def scenario():
        pool = made_pool(Loader(n_failures=1))
        with pytest.raises(CheckpointError):
            await pool.get(A)
        await pool.aclose()
        return pool.running

    assert asyncio.run(scenario()) == []
