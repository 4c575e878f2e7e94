"""Work that is given up when the client leaves."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.types import Receive

from sirocco.errors import Aborted

T = TypeVar("T")


async def unless_disconnected(receive: Receive, work: Coroutine[None, None, T]) -> T:
    """Do `work`, or cancel it as soon as the client is gone. The body must be read already.

    Raises: Aborted if the client left first.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Aborted("the client left before the answer was whole")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
