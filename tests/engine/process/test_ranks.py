"""An engine of two ranks, in its real processes: the same answers, and one death is all deaths.

The devices are this machine's processor, twice, and gloo adds up between them.
"""

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.served import is_dead

from sirocco.engine.config import EngineConfig
from sirocco.engine.process.client import EngineClient
from sirocco.engine.process.launch import EngineProcess
from sirocco.engine.process.messages import Start
from sirocco.engine.request import Request
from sirocco.errors import ConfigError, EngineFault
from sirocco.service.engine_keeper import EngineKeeper, Patience
from sirocco.types import SamplingParams

EMBEDDED = next((Path(__file__).parents[3] / "src/sirocco/embedded").glob("*/config.json")).parent
CONFIG = EngineConfig(max_seq_len=256, kv_cache_bytes=2**24, max_step_tokens=64)
PROMPTS = ([1, 60, 70, 80], list(range(300, 400)))

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it looks into /proc"),
    pytest.mark.timeout(900),
]


def start(gpus):
    return Start(str(EMBEDDED), CONFIG, device="cpu", weights="float32", threads=1, gpus=gpus)


def children_of(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in listed.split()]


async def until(condition, seconds=60.0):
    end_by = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_by, "it took too long"
        await asyncio.sleep(0.05)


async def answers(engine, n_tokens=16):
    """Answer both prompts at once, greedily."""
    sampling = SamplingParams(max_tokens=n_tokens, temperature=0.0, ignore_eos=True)
    running = [
        engine.submit(Request(f"r{i}-{time.monotonic()}", list(prompt), sampling))
        for i, prompt in enumerate(PROMPTS)
    ]
    return [[t async for piece in one for t in piece.token_ids] for one in running]


@asynccontextmanager
async def engine_of(gpus):
    launched = EngineProcess(start(gpus))
    try:
        engine = await EngineClient.connected(launched.socket)
        yield launched, engine
    finally:
        launched.kill()
        await asyncio.to_thread(launched.wait)


def test_two_ranks_write_what_one_writes():
    """Greedy tokens of prefill in chunks and of decode, in float32; then all processes end."""

    async def both():
        async with engine_of(1) as (_, engine):
            alone = await answers(engine)
        async with engine_of(2) as (launched, engine):
            followers = children_of(launched.pid)
            together = await answers(engine)
            shape = engine.shape
            engine.stop()
            await until(lambda: all(map(is_dead, followers)))
        return alone, together, shape, followers

    alone, together, shape, followers = asyncio.run(both())

    assert together == alone
    assert len(followers) == 1
    assert (shape.n_heads, shape.n_kv_heads) == (8, 2)  # of the whole


def test_a_first_rank_that_is_killed_takes_the_other_along():
    async def killed():
        async with engine_of(2) as (launched, _):
            followers = children_of(launched.pid)
            os.kill(launched.pid, signal.SIGKILL)
            await until(lambda: all(map(is_dead, followers)))
            return followers

    assert len(asyncio.run(killed())) == 1


def test_a_killed_follower_ends_the_engine_and_the_keeper_starts_the_next():
    async def killed():
        keeper = EngineKeeper("two", lambda: EngineProcess(start(2)), Patience())
        await keeper.start()
        try:
            first, engine = keeper.pid, await keeper.engine()
            assert first is not None
            before = await answers(engine)
            (follower,) = children_of(first)
            sampling = SamplingParams(max_tokens=200, temperature=0.0, ignore_eos=True)
            cut = engine.submit(Request("cut", [1, 60, 70], sampling))
            await anext(aiter(cut))
            os.kill(follower, signal.SIGKILL)
            with pytest.raises(EngineFault):
                async for _ in cut:
                    pass
            await until(lambda: is_dead(first) and is_dead(follower))
            after = await answers(await keeper.engine())
            pids = [keeper.pid, *children_of(keeper.pid)]
        finally:
            await keeper.aclose()
        await until(lambda: all(map(is_dead, pids)))
        return before, after, first, pids

    before, after, first, pids = asyncio.run(killed())

    assert after == before
    assert first not in pids
    assert len(pids) == 2


def test_heads_that_cannot_be_shared_out_are_refused_before_anything_starts():
    async def refused():
        with pytest.raises(ConfigError, match="n_heads 8 cannot be shared out among 3 GPUs"):
            async with engine_of(3):
                pass

    asyncio.run(refused())
