"""Grammars of requests are tried out in a child process first, which may crash or be killed."""

import asyncio
import json
import sys
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from sirocco.errors import InvalidInput, OutOfCapacity
from sirocco.types import Grammar

log = structlog.get_logger(__name__)

_TIME_LIMIT_S = 5.0
"""Time by the clock that a grammar may take, on a machine that has no time for the child."""

_START_LIMIT_S = 30.0
"""… and the child itself, until it can look at the first one."""

_MOST_BYTES = 256 * 1024

_N_REMEMBERED = 1024
"""Grammars that were tried out lately: most requests come with one that was seen before."""


class GrammarGuard:
    """Refuses what cannot be used as a grammar; use it in one event loop.

    Accounts take turns: whoever sends a hundred hard ones holds up others by one.

    Args:
        cpu_limit_s: time on a processor that a grammar may take; usual ones take a millisecond.
    """

    def __init__(self, cpu_limit_s: float = 0.25) -> None:
        self._cpu_limit_s = cpu_limit_s
        self._child: asyncio.subprocess.Process | None = None
        self._starting: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._lines: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._known: OrderedDict[Grammar, str | None] = OrderedDict()

    async def check(self, grammar: Grammar, account: str = "") -> None:
        """Raise InvalidInput if it cannot be used; OutOfCapacity if there was no time to see.

        Args:
            account: whose turn this is.
        """
        if len(grammar.text) > _MOST_BYTES:
            raise InvalidInput(
                f"'/{grammar.field}' must have at most {_MOST_BYTES} bytes, got {len(grammar.text)}"
            )
        reason = await self._reason(grammar, account)
        if reason is not None:
            raise InvalidInput(reason)

    async def aclose(self) -> None:
        """End the child."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        async with self._turn:
            await self._end_child()

    async def _reason(self, grammar: Grammar, account: str) -> str | None:
        line = self._lines.setdefault(account, asyncio.Lock())
        if grammar not in self._known:
            async with line, self._turn:
                if grammar not in self._known:  # the one before may have been the same
                    self._remember(grammar, await self._tried_out(grammar))
                return self._known[grammar]
        self._known.move_to_end(grammar)
        return self._known[grammar]

    def _remember(self, grammar: Grammar, reason: str | None) -> None:
        self._known[grammar] = reason
        while len(self._known) > _N_REMEMBERED:
            self._known.popitem(last=False)

    async def _tried_out(self, grammar: Grammar) -> str | None:
        """Return why a grammar cannot be used, or None."""
        child = await self._running_child()
        assert child.stdin is not None
        assert child.stdout is not None
        cpu_before_s = _cpu_seconds(child.pid)
        child.stdin.write(json.dumps(asdict(grammar)).encode() + b"\n")
        answer = asyncio.ensure_future(child.stdout.readline())
        waited_s = 0.0
        try:
            while waited_s < _TIME_LIMIT_S:
                await asyncio.wait({answer}, timeout=self._cpu_limit_s)
                if answer.done() and (line := answer.result()):
                    reason: str | None = json.loads(line)
                    return reason
                waited_s += self._cpu_limit_s
                if answer.done() or _cpu_seconds(child.pid) - cpu_before_s >= self._cpu_limit_s / 2:
                    log.warning("a grammar was too much for its child", pid=child.pid)
                    await self._end_child()
                    self._starting = asyncio.create_task(self._have_child_ready())
                    return f"'/{grammar.field}' cannot be used: it is too complex"
        except asyncio.CancelledError:
            await self._end_child()  # its answer would be taken for that to the next question
            raise
        finally:
            answer.cancel()
        await self._end_child()
        raise OutOfCapacity("there was no time to look at the request's grammar")

    async def _have_child_ready(self) -> None:
        """Start another child before somebody waits for it."""
        with suppress(OutOfCapacity):
            async with self._turn:
                await self._running_child()

    async def _running_child(self) -> asyncio.subprocess.Process:
        if self._child is None or self._child.returncode is not None:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sirocco.engine.sampling.grammar_text",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            await self._until_ready(self._child)
        return self._child

    async def _until_ready(self, child: asyncio.subprocess.Process) -> None:
        """Wait until the child has loaded what it needs, which must not count as a grammar's."""
        assert child.stdout is not None
        try:
            async with asyncio.timeout(_START_LIMIT_S):
                if await child.stdout.readline():
                    return
        except asyncio.CancelledError:
            await self._end_child()
            raise
        except TimeoutError:
            log.warning("the child for grammars does not start", pid=child.pid)
        await self._end_child()
        raise OutOfCapacity("there was no time to look at the request's grammar")

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.returncode is None:
            child.kill()
        await child.wait()


def _cpu_seconds(pid: int) -> float:
    """Time that a process has spent on processors; 0 where the system does not tell."""
    try:
        # The name in parentheses may hold blanks; user and system time are fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / 100
