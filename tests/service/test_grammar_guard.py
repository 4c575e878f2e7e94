"""Hostile grammars kill a child at most."""

import asyncio
import json
import time

import pytest
from tests.grammar_bombs import TEXTS

from sirocco.errors import InvalidInput
from sirocco.service.grammar_guard import GrammarGuard
from sirocco.types import Grammar

GOOD = Grammar("json_schema", '{"type": "object"}', "response_format")
NESTED = Grammar("json_schema", '{"items":' * 5000 + "{}" + "}" * 5000)
# Takes long enough to be left.
LONG = Grammar("json_schema", json.dumps({"enum": [f"{i}" * 40 for i in range(3000)]}))


def checked(*grammars):
    """What each grammar is refused with, one after the other, and the children's ids."""

    async def scenario():
        guard = GrammarGuard()
        reasons, pids = [], []
        try:
            for grammar in grammars:
                try:
                    await guard.check(grammar)
                    reasons.append("")
                except InvalidInput as error:
                    reasons.append(str(error))
                pids.append(guard._child.pid if guard._child else None)
        finally:
            await guard.aclose()
        return reasons, pids

    return asyncio.run(scenario())


def test_a_good_grammar_passes_and_a_bad_one_is_refused_by_the_same_child():
    reasons, pids = checked(GOOD, Grammar("json_schema", '{"type": "x"}'), GOOD)

    assert reasons[0] == reasons[2] == ""
    assert "Invalid type" in reasons[1]
    assert len(set(pids)) == 1


def test_a_grammar_of_great_depth_is_refused():
    reasons, _ = checked(NESTED, GOOD)

    assert "cannot be used" in reasons[0]
    assert reasons[1] == ""


def test_a_child_that_dies_is_replaced():
    async def scenario():
        guard = GrammarGuard()
        await guard.check(GOOD)
        assert guard._child is not None
        guard._child.kill()
        with pytest.raises(InvalidInput, match="too complex"):
            await guard.check(Grammar("json_schema", '{"type": "string"}'))
        await guard.check(Grammar("json_schema", '{"type": "integer"}'))
        await guard.aclose()

    asyncio.run(scenario())


def test_a_child_that_computes_for_ever_is_killed():
    """A child that spins in place of an answer."""

    async def scenario():
        guard = GrammarGuard()
        guard._child = await asyncio.create_subprocess_exec(
            "python3", "-c", "while True: pass",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        spinning = guard._child
        started = time.monotonic()
        with pytest.raises(InvalidInput, match="too complex"):
            await guard.check(GOOD)
        elapsed_s = time.monotonic() - started
        await guard.aclose()
        return spinning.returncode, elapsed_s

    returncode, elapsed_s = asyncio.run(scenario())

    assert returncode == -9
    assert elapsed_s < 4  # 0.25 s on a processor of its own


def test_another_child_is_ready_after_one_was_killed():
    """Nobody has to ask for it, and none is left when the guard is closed."""

    async def scenario():
        guard = GrammarGuard()
        with pytest.raises(InvalidInput, match="too complex"):
            await guard.check(Grammar("json_schema", TEXTS["product of automata"]))
        async with asyncio.timeout(60):
            while guard._child is None:
                await asyncio.sleep(0.01)
        child = guard._child
        await guard.aclose()
        return child.returncode

    assert asyncio.run(scenario()) == -9


def test_a_grammar_that_was_tried_out_is_remembered():
    async def scenario():
        guard = GrammarGuard()
        await guard.check(GOOD)
        await guard._end_child()
        await guard.check(GOOD)
        return guard._child

    assert asyncio.run(scenario()) is None


def test_a_caller_who_leaves_does_not_mix_up_the_answers():
    async def scenario():
        guard = GrammarGuard()
        await guard.check(GOOD)
        leaving = asyncio.create_task(guard.check(LONG))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        with pytest.raises(InvalidInput, match="Invalid type"):
            await guard.check(Grammar("json_schema", '{"type": "y"}'))
        await guard.aclose()

    asyncio.run(scenario())


def test_a_grammar_of_a_megabyte_is_refused_unseen():
    reasons, pids = checked(Grammar("json_schema", " " * 1_000_000))

    assert "at most 262144 bytes" in reasons[0]
    assert pids == [None]


def test_the_time_in_which_the_child_starts_is_not_the_grammars():
    """However slow the machine: a good grammar must not be refused, and that be remembered."""

    async def scenario():
        guard = GrammarGuard(cpu_limit_s=0.05)  # less than a start
        await guard.check(GOOD)
        await guard.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize("name", TEXTS)
def test_no_bomb_takes_more_than_a_child(name):
    """It is refused, or it is none; the next grammar is looked at as if nothing had been."""
    _, pids = checked(Grammar("json_schema", TEXTS[name], "guided_json"), GOOD)

    assert pids[-1] is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("product of automata", "too complex"),
        ("members of a constant", "too complex"),
        ("circle of references", "cannot be used"),
        ("multiples", "cannot be used"),
        ("products of alternatives", "schema too large"),
    ],
)
def test_a_bomb_is_refused_by_the_name_of_its_field(name, words):
    (reason,), _ = checked(Grammar("json_schema", TEXTS[name], "guided_json"))

    assert reason.startswith("'/guided_json' ")
    assert words in reason


def test_an_account_with_many_grammars_holds_up_another_by_one():
    """The other one comes last, and is next but one."""

    async def scenario():
        guard = GrammarGuard()
        done = []

        async def check(account, number):
            await guard.check(Grammar("json_schema", f'{{"const": {number}}}'), account)
            done.append(account)

        tasks = [asyncio.create_task(check("flood", number)) for number in range(20)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(check("quiet", 20)))
        await asyncio.gather(*tasks)
        await guard.aclose()
        return done

    assert asyncio.run(scenario()).index("quiet") <= 1


def test_the_same_grammar_at_once_is_tried_out_once(monkeypatch):
    tried = []

    async def scenario():
        guard = GrammarGuard()
        try_out = guard._tried_out

        async def counted(grammar):
            tried.append(grammar)
            return await try_out(grammar)

        monkeypatch.setattr(guard, "_tried_out", counted)
        await asyncio.gather(*(guard.check(GOOD, f"{number % 2}") for number in range(10)))
        await guard.aclose()

    asyncio.run(scenario())

    assert tried == [GOOD]
