"""Of one account a few requests are read at once; other accounts do not stand behind it."""

import asyncio

from sirocco.engine.process.turns import Turns


async def begin(turns, *asked):
    """Let requests wait for their turns; give the list in which those that have one stand."""
    begun, tasks = [], []

    async def wait(request_id):
        await turns.wait(request_id, request_id[0])
        begun.append(request_id)

    for request_id in asked:
        tasks.append(asyncio.create_task(wait(request_id), name=request_id))
        await asyncio.sleep(0)
    return begun, tasks


def test_the_next_begins_when_one_before_it_is_read():
    async def ask():
        turns = Turns(2)
        begun, _ = await begin(turns, "a1", "a2", "a3", "a4")
        before = list(begun)
        turns.leave("a2")
        turns.leave("a2")
        await asyncio.sleep(0)
        return before, begun

    assert asyncio.run(ask()) == (["a1", "a2"], ["a1", "a2", "a3"])


def test_another_account_does_not_wait_for_a_crowd():
    async def ask():
        begun, _ = await begin(Turns(1), "a1", "a2", "a3", "b1")
        return begun

    assert asyncio.run(ask()) == ["a1", "b1"]


def test_who_waits_for_a_slow_body_keeps_nobody_back():
    async def ask():
        turns = Turns(1, turn_s=0.01)
        begun, tasks = await begin(turns, "a1", "a2")
        await asyncio.wait_for(tasks[1], 60)
        return begun

    assert asyncio.run(ask()) == ["a1", "a2"]


def test_one_that_is_cancelled_in_any_moment_keeps_no_turn():
    async def ask():
        turns = Turns(1)
        begun, tasks = await begin(turns, "a1", "a2", "a3", "a4")
        tasks[1].cancel()
        await asyncio.sleep(0)
        turns.leave("a1")  # the third has its turn now, and is cancelled before it knows
        tasks[2].cancel()
        await asyncio.gather(*tasks[1:3], return_exceptions=True)
        turns.leave("a3")
        await asyncio.sleep(0)
        turns.leave("a4")
        return begun, turns

    begun, turns = asyncio.run(ask())

    assert begun == ["a1", "a4"]
    assert (turns._account_of, turns._waiting, turns._n_having) == ({}, {}, {})
