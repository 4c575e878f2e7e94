"""The engine in its thread, seen from an event loop."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from sirocco.engine.async_engine import AsyncEngine
from sirocco.engine.request import Request
from sirocco.errors import Aborted, EngineFault, ModelFault, OutOfCapacity, PromptTooLong
from sirocco.types import FinishReason, SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True)


@asynccontextmanager
async def running(engine):
    async_engine = AsyncEngine(engine)
    async_engine.start()
    try:
        yield async_engine
    finally:
        await async_engine.aclose()


async def token_ids_of(generation):
    return [t async for piece in generation for t in piece.token_ids]


def gated(engine):
    """Let each step wait for a permit: the test decides how far the engine gets."""
    permits = threading.Semaphore(0)
    step = engine.step

    def wait_and_step():
        permits.acquire(timeout=30)
        return step()

    engine.step = wait_and_step
    return permits


def test_answers_equal_those_of_the_bare_engine(make_engine, run_all):
    prompts = {name: [ord(name), 50, 60] for name in "abc"}
    engine = make_engine()
    for name, prompt in prompts.items():
        engine.add(Request(name, prompt, GREEDY))
    expected = run_all(engine)

    async def scenario():
        async with running(make_engine()) as live:
            generations = {n: live.submit(p, GREEDY) for n, p in prompts.items()}
            answers = await asyncio.gather(*map(token_ids_of, generations.values()))
            return dict(zip(generations, answers, strict=True))

    assert asyncio.run(scenario()) == expected


def test_the_first_piece_comes_before_the_last_token_is_computed(make_engine):
    async def scenario():
        engine = make_engine()
        permits = gated(engine)
        async with running(engine) as live:
            generation = live.submit([5, 6, 7], GREEDY)
            permits.release()
            first = await asyncio.wait_for(anext(generation), 10)
            n_computed = engine.scheduler.running[0].n_output_tokens
            permits.release(100)
            rest = [piece async for piece in generation]
        return first, n_computed, rest

    first, n_computed, rest = asyncio.run(scenario())
    assert first.finish_reason is None
    assert n_computed == 1
    assert rest[-1].finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("n_steps_before", [0, 1, 5])
def test_an_aborted_answer_frees_its_blocks_by_the_next_step(make_engine, n_steps_before):
    async def scenario():
        engine = make_engine()
        permits = gated(engine)
        async with running(engine) as live:
            generation = live.submit([5, 6, 7], SamplingParams(max_tokens=200, ignore_eos=True))
            for _ in range(n_steps_before):
                permits.release()
                await asyncio.wait_for(anext(generation), 10)
            generation.abort()
            generation.abort()
            permits.release()
            last = [piece async for piece in generation][-1]
            permits.release(3)
            return last.finish_reason, engine.scheduler.blocks.n_free, engine.runner.n_blocks

    reason, n_free, n_blocks = asyncio.run(scenario())
    assert reason is FinishReason.ABORT
    assert n_free == n_blocks


def test_the_event_loop_stays_free_while_a_step_runs(make_engine):
    async def scenario():
        engine = make_engine()
        permits = gated(engine)
        async with running(engine) as live:
            generation = live.submit([5, 6, 7], GREEDY)
            await asyncio.sleep(0.05)  # the thread is inside a step now, and stays there
            permits.release(100)
            return await token_ids_of(generation)

    assert len(asyncio.run(scenario())) == 20


def test_what_can_never_fit_is_refused_at_once(make_engine):
    async def scenario():
        async with running(make_engine(max_seq_len=20)) as live:
            with pytest.raises(PromptTooLong):
                live.submit([5] * 20, GREEDY)
            return await token_ids_of(live.submit([5] * 3, GREEDY))

    assert len(asyncio.run(scenario())) == 17


def test_more_than_may_wait_are_refused_and_the_others_are_answered(make_engine):
    async def scenario():
        engine = make_engine(max_waiting=1, max_running=1)
        permits = gated(engine)
        refused, answers = 0, []
        async with running(engine) as live:
            generations = []
            for _ in range(6):
                try:
                    generations.append(live.submit([5, 6], GREEDY))
                except OutOfCapacity:
                    refused += 1
            permits.release(1000)
            for generation in generations:
                try:
                    answers.append(await token_ids_of(generation))
                except OutOfCapacity:
                    refused += 1
        return refused, answers

    refused, answers = asyncio.run(scenario())
    assert refused + len(answers) == 6
    assert refused >= 3
    assert all(len(answer) == 20 for answer in answers)


def test_a_step_that_fails_ends_its_answers_and_the_engine_goes_on(make_engine):
    async def scenario():
        engine = make_engine()
        run, failures = engine.runner.run, [RuntimeError("out of memory")]

        def fail_once(plan):
            if failures:
                raise failures.pop()
            return run(plan)

        engine.runner.run = fail_once
        async with running(engine) as live:
            with pytest.raises(EngineFault):
                await token_ids_of(live.submit([5, 6], GREEDY))
            answer = await token_ids_of(live.submit([5, 6], GREEDY))
            engine.scheduler.check_integrity()
            return answer

    assert len(asyncio.run(scenario())) == 20


def test_a_request_that_breaks_the_engine_ends_alone(make_engine):
    async def scenario():
        engine = make_engine()
        add = engine.add

        def fail_for_seven(request):
            if request.prompt_token_ids == [7]:
                raise ValueError("unforeseen")
            add(request)

        engine.add = fail_for_seven
        async with running(engine) as live:
            with pytest.raises(EngineFault):
                await token_ids_of(live.submit([7], GREEDY))
            return await token_ids_of(live.submit([5, 6], GREEDY))

    assert len(asyncio.run(scenario())) == 20


def test_a_model_fault_is_raised_to_its_own_caller(make_engine):
    async def scenario():
        engine = make_engine()
        engine.model.embedding.weight.data[5] = float("nan")
        async with running(engine) as live:
            bad, good = live.submit([5], GREEDY), live.submit([9], GREEDY)
            with pytest.raises(ModelFault):
                await token_ids_of(bad)
            return await token_ids_of(good)

    assert len(asyncio.run(scenario())) > 0


def test_closing_ends_what_is_live_and_refuses_what_comes(make_engine):
    async def scenario():
        engine = make_engine()
        permits = gated(engine)
        live = AsyncEngine(engine)
        live.start()
        generation = live.submit([5, 6], GREEDY)
        permits.release(2)
        await anext(generation)
        permits.release(2)
        await live.aclose()
        with pytest.raises(Aborted):
            await token_ids_of(generation)
        with pytest.raises(Aborted):
            live.submit([5, 6], GREEDY)

    asyncio.run(scenario())
