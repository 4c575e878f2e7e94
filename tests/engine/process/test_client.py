"""An engine behind its socket, seen from an event loop."""

import asyncio
import threading
import uuid
from contextlib import asynccontextmanager, contextmanager

import pytest
from tests.inprocess import EngineThread

from sirocco.engine.process.client import EngineClient
from sirocco.engine.request import Request
from sirocco.errors import (
    Aborted,
    CheckpointError,
    EngineFault,
    InvalidInput,
    ModelFault,
    OutOfCapacity,
    PromptTooLong,
    SetupError,
)
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.types import FinishReason, Grammar, SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True)


@asynccontextmanager
async def running(engine, **options):
    thread = EngineThread(lambda: engine)
    live = await EngineClient.connected(thread.socket, **options)
    try:
        yield live
    finally:
        live.stop()
        await asyncio.wait_for(live.lost, 30)
        await asyncio.to_thread(thread.wait)


def asked(prompt, sampling=GREEDY, account=""):
    return Request(str(uuid.uuid4()), prompt, sampling, account=account)


async def happened(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


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
            generations = {n: live.submit(asked(p)) for n, p in prompts.items()}
            answers = await asyncio.gather(*map(token_ids_of, generations.values()))
            return dict(zip(generations, answers, strict=True))

    assert asyncio.run(scenario()) == expected


def test_the_first_piece_comes_before_the_last_token_is_computed(make_engine):
    async def scenario():
        engine = make_engine()
        permits = gated(engine)
        async with running(engine) as live:
            generation = live.submit(asked([5, 6, 7]))
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
            endless = SamplingParams(max_tokens=200, ignore_eos=True)
            generation = live.submit(asked([5, 6, 7], endless))
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
            generation = live.submit(asked([5, 6, 7]))
            await asyncio.sleep(0.05)  # the thread is inside a step now, and stays there
            permits.release(100)
            return await token_ids_of(generation)

    assert len(asyncio.run(scenario())) == 20


def test_what_can_never_fit_is_refused_at_once(make_engine):
    async def scenario():
        async with running(make_engine(max_seq_len=20)) as live:
            with pytest.raises(PromptTooLong):
                live.submit(asked([5] * 20))
            return await token_ids_of(live.submit(asked([5] * 3)))

    assert len(asyncio.run(scenario())) == 17


def test_more_than_there_are_places_for_are_refused_and_the_others_are_answered(make_engine):
    async def scenario():
        engine = make_engine(max_waiting=3, max_running=1)
        permits = gated(engine)
        async with running(engine) as live:
            generations = [live.submit(asked([5, 6])) for _ in range(3)]
            for _ in range(3):
                with pytest.raises(OutOfCapacity) as refused:
                    live.submit(asked([5, 6]))
                assert refused.value.retry_after_s >= 1
            permits.release(1000)
            return await asyncio.gather(*map(token_ids_of, generations))

    assert [len(answer) for answer in asyncio.run(scenario())] == [20] * 3


def test_no_more_wait_than_may_where_blocks_let_fewer_run(make_engine):
    async def scenario():
        # Blocks for two of these, and one waits beside them; five have places until it is known.
        engine = make_engine(8, max_waiting=5, max_running=4, prefix_cache=False)
        permits = gated(engine)
        async with running(engine) as live:
            generations = [live.submit(asked([5] * 12)) for _ in range(3)]
            while live.load.n_runnable != 2:
                permits.release()
                await asyncio.wait_for(anext(generations[0]), 10)
            with pytest.raises(OutOfCapacity, match="all 3 places"):
                live.submit(asked([5] * 12))
            permits.release(1000)
            await asyncio.gather(*map(token_ids_of, generations))
            again = [live.submit(asked([5] * 12)) for _ in range(5)]
            return await asyncio.gather(*map(token_ids_of, again))

    assert [len(answer) for answer in asyncio.run(scenario())] == [20] * 5


def test_whoever_would_wait_too_long_by_the_pace_so_far_is_refused_at_once(make_engine):
    async def scenario():
        engine = make_engine(max_waiting=7, max_running=1)
        permits = gated(engine)
        async with running(engine, queue_timeout_s=0.05) as live:
            generations = [live.submit(asked([5, 6])) for _ in range(5)]
            for generation in generations[:3]:
                await asyncio.sleep(0.1)  # so long an answer takes
                permits.release(20)
                await token_ids_of(generation)
            with pytest.raises(OutOfCapacity, match="all 2 places"):
                live.submit(asked([5, 6]))
            permits.release(1000)
            return await asyncio.gather(*map(token_ids_of, generations[3:]))

    assert [len(answer) for answer in asyncio.run(scenario())] == [20] * 2


def test_a_newcomer_takes_the_place_of_the_youngest_of_an_account_that_has_many(make_engine):
    async def scenario():
        engine = make_engine(max_waiting=4, max_running=1)
        permits = gated(engine)
        async with running(engine) as live:
            flood = [live.submit(asked([5, 6], account="flood")) for _ in range(4)]
            other = live.submit(asked([5, 6], account="other"))
            permits.release(1000)
            *answered, pushed_out = await asyncio.gather(
                *map(token_ids_of, flood), return_exceptions=True
            )
            return answered, pushed_out, await token_ids_of(other)

    answered, pushed_out, other = asyncio.run(scenario())
    assert [len(answer) for answer in [*answered, other]] == [20] * 4
    assert isinstance(pushed_out, OutOfCapacity)


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
                await token_ids_of(live.submit(asked([5, 6])))
            answer = await token_ids_of(live.submit(asked([5, 6])))
            engine.scheduler.check_integrity()
            return answer

    assert len(asyncio.run(scenario())) == 20


def test_a_request_that_breaks_the_engine_ends_alone(make_engine):
    async def scenario():
        engine = make_engine()
        add = engine.add

        def fail_for_seven(request, grammar=None):
            if request.prompt_token_ids == [7]:
                raise ValueError("unforeseen")
            add(request, grammar)

        engine.add = fail_for_seven
        async with running(engine) as live:
            with pytest.raises(EngineFault):
                await token_ids_of(live.submit(asked([7])))
            return await token_ids_of(live.submit(asked([5, 6])))

    assert len(asyncio.run(scenario())) == 20


@contextmanager
def slow_grammars(engine):
    """Let grammars be begun when the test says so."""
    go_on, begin = threading.Event(), engine.begun_grammar

    def begin_late(request):
        go_on.wait(20)
        return begin(request)

    engine.begun_grammar = begin_late
    yield go_on
    go_on.set()


YES = SamplingParams(grammar=Grammar("lark", 'start: "yes"'))
NOWHERE = SamplingParams(grammar=Grammar("lark", "start: nowhere"))


def test_a_grammar_that_takes_long_to_begin_holds_up_no_other_answer(make_engine):
    async def scenario():
        engine = make_engine()
        with slow_grammars(engine) as go_on:
            async with running(engine) as live:
                bound = live.submit(asked([5], YES))
                other = await token_ids_of(live.submit(asked([5, 6])))
                go_on.set()
                return other, await token_ids_of(bound)

    other, bound = asyncio.run(scenario())

    assert len(other) == 20
    assert ByteTokenizer().decode(bound[:3]) == "yes"


def test_an_answer_whose_grammar_is_being_begun_can_be_given_up(make_engine):
    async def scenario():
        engine = make_engine()
        with slow_grammars(engine) as go_on:
            async with running(engine) as live:
                bound = live.submit(asked([5], YES))
                bound.abort()
                await token_ids_of(live.submit(asked([5, 6])))
                go_on.set()
                await token_ids_of(live.submit(asked([5, 6])))
                assert not engine.has_work
                return bound.finish_reason

    assert asyncio.run(scenario()) is FinishReason.ABORT


def test_a_grammar_that_cannot_be_begun_is_told_to_its_caller(make_engine):
    async def scenario():
        async with running(make_engine()) as live:
            with pytest.raises(InvalidInput, match="cannot be used"):
                await token_ids_of(live.submit(asked([5], NOWHERE)))
            return await token_ids_of(live.submit(asked([5, 6])))

    assert len(asyncio.run(scenario())) == 20


def test_a_model_fault_is_raised_to_its_own_caller(make_engine):
    async def scenario():
        engine = make_engine()
        engine.model.embedding.weight.data[5] = float("nan")
        async with running(engine) as live:
            bad, good = live.submit(asked([5])), live.submit(asked([9]))
            with pytest.raises(ModelFault):
                await token_ids_of(bad)
            return await token_ids_of(good)

    assert len(asyncio.run(scenario())) > 0


def test_steps_that_fail_again_and_again_end_the_engine(make_engine):
    """A device beyond help fails each step; only a new process can do better."""

    async def scenario():
        engine = make_engine()

        def fail(_plan):
            raise RuntimeError("device-side assert")

        engine.runner.run = fail
        thread = EngineThread(lambda: engine)
        live = await EngineClient.connected(thread.socket)
        for _ in range(3):
            with pytest.raises(EngineFault):
                await token_ids_of(live.submit(asked([5, 6])))
        await asyncio.wait_for(live.lost, 30)
        thread.wait()
        return thread.fault

    assert isinstance(asyncio.run(scenario()), RuntimeError)


def test_an_engine_whose_books_are_wrong_serves_no_one(make_engine):
    """It looks when it has become idle, and ends before anybody can read foreign blocks."""

    async def scenario():
        engine = make_engine()
        thread = EngineThread(lambda: engine)
        live = await EngineClient.connected(thread.socket)

        def find_fault():
            raise AssertionError("block 3 is held twice")

        engine.scheduler.check_integrity = find_fault
        answer = await token_ids_of(live.submit(asked([5, 6])))
        await asyncio.wait_for(live.lost, 30)
        thread.wait()
        with pytest.raises(EngineFault):
            live.submit(asked([5, 6]))
        return answer, thread.fault

    answer, fault = asyncio.run(scenario())
    assert len(answer) == 20
    assert isinstance(fault, AssertionError)


def test_the_books_are_looked_at_once_each_time_the_engine_becomes_idle(make_engine):
    async def scenario():
        engine = make_engine()
        looks, check = [], engine.scheduler.check_integrity
        engine.scheduler.check_integrity = lambda: looks.append(check())
        async with running(engine) as live:
            for n in (1, 2):
                await asyncio.gather(*(token_ids_of(live.submit(asked([i]))) for i in (5, 6)))
                await happened(lambda n=n: len(looks) >= n)
        return len(looks)

    assert asyncio.run(scenario()) == 2


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (CheckpointError("no weights"), (CheckpointError, "no weights")),
        (MemoryError(), (SetupError, "the engine could not be loaded")),
    ],
    ids=["foreseen", "unforeseen"],
)
def test_a_failed_start_arrives_as_itself(raised, told):
    def load():
        raise raised

    async def scenario():
        thread = EngineThread(load)
        with pytest.raises(SetupError) as failure:
            await EngineClient.connected(thread.socket)
        thread.wait()
        return failure.value

    error = asyncio.run(scenario())
    assert (type(error), str(error)) == told


def test_an_engine_that_hangs_up_ends_its_answers_with_a_fault(make_engine):
    async def scenario():
        engine = make_engine()
        permits = gated(engine)
        thread = EngineThread(lambda: engine)
        live = await EngineClient.connected(thread.socket)
        over: list[object] = []
        generation = live.submit(asked([5, 6]), on_over=over.append)
        permits.release(2)
        await anext(generation)
        await anext(generation)
        thread.kill()
        permits.release(100)
        with pytest.raises(EngineFault):
            await token_ids_of(generation)
        thread.wait()
        return over == [generation], generation.n_output_tokens, live.n_live

    assert asyncio.run(scenario()) == (True, 2, 0)


def test_sizes_without_a_bound_of_their_own_fit_into_a_message(make_engine):
    huge = SamplingParams(temperature=0.0, max_tokens=10**30, top_k=10**30, ignore_eos=True)

    async def scenario():
        async with running(make_engine(max_seq_len=20)) as live:
            with pytest.raises(InvalidInput):
                live.submit(asked([5], SamplingParams(stop=("\ud800",))))
            return await token_ids_of(live.submit(asked([5], huge)))

    assert len(asyncio.run(scenario())) == 19


def test_breaking_off_ends_all_with_the_given_error_and_frees_the_engine(make_engine):
    async def scenario():
        engine = make_engine()
        permits = gated(engine)
        async with running(engine) as live:
            generations = [live.submit(asked([5, 6])) for _ in range(3)]
            live.break_off(Aborted("the server is shutting down"))
            errors = await asyncio.gather(*map(token_ids_of, generations), return_exceptions=True)
            permits.release(100)
            await happened(lambda: not engine.has_work)
            return {(type(error), str(error)) for error in errors}, live.n_live

    assert asyncio.run(scenario()) == ({(Aborted, "the server is shutting down")}, 0)


def test_stopping_ends_what_is_live_and_refuses_what_comes(make_engine):
    async def scenario():
        engine = make_engine()
        permits = gated(engine)
        async with running(engine) as live:
            generation = live.submit(asked([5, 6]))
            permits.release(2)
            await anext(generation)
            live.stop()
            permits.release(2)
            with pytest.raises(Aborted):
                await token_ids_of(generation)
            with pytest.raises(Aborted):
                live.submit(asked([5, 6]))

    asyncio.run(scenario())
