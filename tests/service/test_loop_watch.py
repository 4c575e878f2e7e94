"""The event loop's lateness is told while it is late."""

import asyncio
import time

from sirocco.service.loop_watch import LoopWatch


def test_a_callback_that_blocks_the_loop_is_told_as_its_lateness():
    late_s: list[float] = []

    async def block() -> None:
        watch = LoopWatch(late_s.append, tick_s=0.01)
        time.sleep(0.1)  # which no callback should
        await asyncio.sleep(0.03)
        watch.close()

    asyncio.run(block())

    assert max(late_s) > 0.05


def test_nothing_is_told_after_its_end():
    late_s: list[float] = []

    async def end_at_once() -> None:
        LoopWatch(late_s.append, tick_s=0.001).close()
        await asyncio.sleep(0.02)

    asyncio.run(end_at_once())

    assert late_s == []
