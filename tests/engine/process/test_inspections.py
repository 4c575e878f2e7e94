"""Looks inside of an engine in another thread, seen from an event loop."""

import asyncio
from dataclasses import replace

import pytest
import torch
from tests.engine.process.test_client import asked, gated, happened, running, token_ids_of
from tests.inprocess import EngineThread

from sirocco.engine.inspection.request import InspectionRequest
from sirocco.engine.process.client import EngineClient
from sirocco.errors import Aborted, EngineFault, InvalidInput, ModelFault, OutOfCapacity
from sirocco.types import FinishReason, SamplingParams

TEXT = [5 + i % 200 for i in range(40)]
LOOK = InspectionRequest("i", TEXT, (1,), (0, 2), 3, account="a")
ENDLESS = SamplingParams(max_tokens=200, temperature=0.0, ignore_eos=True)


def inspect(live, request=LOOK, over=None):
    return live.inspect(request, on_over=(over if over is not None else []).append)


def held(engine):
    """Let each piece of an inspection wait for a permit."""
    import threading

    permits = threading.Semaphore(0)
    advance = engine.inspections.advance

    def wait_and_advance():
        permits.acquire(timeout=30)
        return advance()

    engine.inspections.advance = wait_and_advance
    return permits


def test_an_inspection_is_put_together_from_its_pieces(make_engine):
    async def scenario():
        async with running(make_engine()) as live:
            over: list[object] = []
            inspection = inspect(live, over=over)
            await inspection.whole()
            return inspection, over, live.n_live

    inspection, over, n_live = asyncio.run(scenario())

    maps = torch.frombuffer(bytearray(inspection.attention), dtype=torch.uint8)
    maps = maps.view(2, 40, 40).int()
    assert (maps.sum(-1) - 255).abs().max() <= 8  # of at most 16 keys, half a step each
    assert not maps.triu(1).any()
    assert [t.token_id for t in inspection.following[:-1]] == TEXT[1:]
    assert (over, n_live) == ([inspection], 0)
    assert inspection.finish_reason is FinishReason.STOP


def test_answers_go_on_beside_an_inspection(make_engine):
    async def scenario():
        async with running(make_engine()) as live:
            alone = await token_ids_of(live.submit(asked([5, 6, 7])))
            inspection = inspect(live)
            beside = await token_ids_of(live.submit(asked([5, 6, 7])))
            await inspection.whole()
            return alone, beside

    alone, beside = asyncio.run(scenario())

    assert alone == beside


def test_an_idle_engine_wakes_up_for_an_inspection(make_engine):
    async def scenario():
        async with running(make_engine()) as live:
            await asyncio.sleep(0.05)  # it sleeps on its inbox
            await asyncio.wait_for(inspect(live).whole(), 30)

    asyncio.run(scenario())


def test_what_the_network_lacks_is_refused_before_it_is_sent(make_engine):
    async def scenario():
        async with running(make_engine()) as live:
            with pytest.raises(InvalidInput, match="'/heads' must be in 0 … 3, got 4"):
                inspect(live, replace(LOOK, heads=(4,)))
            return live.n_live

    assert asyncio.run(scenario()) == 0


def test_an_account_has_few_at_once_and_the_house_not_many(make_engine):
    async def scenario():
        engine = make_engine()
        permits = held(engine)
        async with running(engine) as live:
            first = [inspect(live, replace(LOOK, request_id=f"a{i}")) for i in range(2)]
            with pytest.raises(OutOfCapacity, match="2 inspections of the account"):
                live.check_room_to_inspect("a")
            with pytest.raises(OutOfCapacity):
                inspect(live, replace(LOOK, request_id="a2"))
            others = [
                inspect(live, replace(LOOK, request_id=f"b{i}", account=f"b{i}")) for i in range(6)
            ]
            with pytest.raises(OutOfCapacity, match="8 inspections"):
                live.check_room_to_inspect("c")
            permits.release(1000)
            await asyncio.gather(*(one.whole() for one in first + others))
            live.check_room_to_inspect("a")
            return live.n_live

    assert asyncio.run(scenario()) == 0


def test_an_aborted_one_is_over_at_once_and_gives_its_place_back(make_engine):
    async def scenario():
        engine = make_engine()
        permits = held(engine)
        async with running(engine) as live:
            over: list[object] = []
            inspection = inspect(live, over=over)
            inspection.abort()
            inspection.abort()
            with pytest.raises(Aborted):
                await inspection.whole()
            permits.release(1000)
            await inspect(live, replace(LOOK, request_id="next")).whole()
            await happened(lambda: not engine.inspections.has_work)
            return over == [inspection], inspection.finish_reason, live.n_live

    assert asyncio.run(scenario()) == (True, FinishReason.ABORT, 0)


def test_a_fault_of_the_model_ends_the_inspection_alone(make_engine):
    async def scenario():
        engine = make_engine()
        async with running(engine) as live:
            engine.model.norm.weight.data[0] = float("nan")
            with pytest.raises(ModelFault):
                await inspect(live).whole()
            torch.nn.init.ones_(engine.model.norm.weight)
            await inspect(live, replace(LOOK, request_id="next")).whole()

    asyncio.run(scenario())


def test_an_inspection_that_fails_harms_no_answer(make_engine):
    async def scenario():
        engine = make_engine()

        def fail():
            engine.inspections.abort("i")
            raise RuntimeError("secret detail")

        engine.inspections.advance = fail
        async with running(engine) as live:
            inspection, generation = inspect(live), live.submit(asked([5, 6, 7]))
            with pytest.raises(EngineFault) as caught:
                await inspection.whole()
            return str(caught.value), await token_ids_of(generation)

    text, token_ids = asyncio.run(scenario())

    assert "secret" not in text
    assert len(token_ids) == 20


def test_an_engine_that_is_gone_ends_inspections_and_looks(make_engine):
    async def scenario():
        engine = make_engine()
        held(engine)
        steps = gated(engine)
        thread = EngineThread(lambda: engine)
        live = await EngineClient.connected(thread.socket)
        generation = live.submit(asked([5, 6, 7]))
        inspection = inspect(live)
        look = asyncio.ensure_future(live.look_at_blocks(generation.request_id))
        await asyncio.sleep(0)
        live.hang_up("the test")
        with pytest.raises(EngineFault):
            await inspection.whole()
        with pytest.raises(EngineFault):
            await look
        with pytest.raises(EngineFault):
            inspect(live)
        with pytest.raises(EngineFault):
            await live.look_at_blocks(generation.request_id)
        engine.inspections.abort("i")
        steps.release(100)
        thread.kill()

    asyncio.run(scenario())


def test_breaking_off_ends_inspections_with_the_given_error(make_engine):
    async def scenario():
        engine = make_engine()
        permits = held(engine)
        async with running(engine) as live:
            inspection = inspect(live)
            live.break_off(Aborted("the server is shutting down"))
            permits.release(1000)
            with pytest.raises(Aborted, match="shutting down"):
                await inspection.whole()
            await happened(lambda: not engine.inspections.has_work)

    asyncio.run(scenario())


# --- blocks ---


def test_a_look_shows_the_blocks_between_two_steps(make_engine):
    async def scenario():
        engine = make_engine()
        permits = gated(engine)
        async with running(engine) as live:
            generation = live.submit(asked(TEXT, ENDLESS))
            permits.release()
            await anext(generation)
            looking = asyncio.ensure_future(live.look_at_blocks(generation.request_id))
            await asyncio.sleep(0.01)
            permits.release()
            view = await looking
            permits.release(1000)
            generation.abort()
            return view

    (seq,) = asyncio.run(scenario()).sequences

    # Window 16, blocks of 4: of 40 or 41 computed tokens 25 … 40 are in view, blocks 6 … 10.
    assert (seq.n_computed in (40, 41), seq.n_reclaimed, seq.is_running) == (True, 6, True)


def test_who_asks_twice_gets_one_answer_and_the_engine_one_question(make_engine):
    async def scenario():
        engine = make_engine()
        n_looks = 0
        view_blocks = engine.view_blocks

        def counted(request_id):
            nonlocal n_looks
            n_looks += 1
            return view_blocks(request_id)

        engine.view_blocks = counted
        permits = gated(engine)
        async with running(engine) as live:
            generation = live.submit(asked(TEXT, ENDLESS))
            permits.release()
            await anext(generation)
            looks = [
                asyncio.ensure_future(live.look_at_blocks(generation.request_id)) for _ in range(50)
            ]
            await asyncio.sleep(0)
            permits.release()
            views = await asyncio.gather(*looks)
            permits.release(1000)
            generation.abort()
            return n_looks, len(set(map(id, views)))

    assert asyncio.run(scenario()) == (1, 1)


def test_a_request_that_is_over_has_no_blocks(make_engine):
    async def scenario():
        async with running(make_engine()) as live:
            generation = live.submit(asked([5, 6, 7]))
            await token_ids_of(generation)
            return await live.look_at_blocks(generation.request_id)

    view = asyncio.run(scenario())

    assert view.sequences == ()
    assert view.pool.n_held == 0


def test_only_its_own_account_finds_a_live_answer(make_engine):
    async def scenario():
        engine = make_engine()
        permits = gated(engine)
        async with running(engine) as live:
            generation = live.submit(asked([5, 6, 7], account="mine"))
            found = [live.is_live_of(generation.request_id, a) for a in ("mine", "other", "")]
            permits.release(1000)
            await token_ids_of(generation)
            return found, live.is_live_of(generation.request_id, "mine")

    assert asyncio.run(scenario()) == ([True, False, False], False)
