"""What one account gets is its own: whole streams of many accounts, with many who leave early."""

import asyncio
import random

from tests.engine.process.test_client import asked, running, token_ids_of

from sirocco.types import SamplingParams

N_ACCOUNTS, N_CALLERS = 5, 24
SAMPLING = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)


def prompts_of(account):
    """Texts that name their account; some begin alike, so that the prefix cache is at work."""
    common = [3 + account] * 40
    return [[*common[: 8 * n], 50 + account, 80 + n] for n in range(5)]


def test_no_stream_ever_holds_a_token_of_another_account(make_engine, is_nightly):
    """1 000 answers of which half are left early; 100 000 with --nightly.

    Each token is compared with what its prompt gives alone. Blocks are so few that answers are
    preempted, and evicted blocks are used again by others.
    """
    n_answers = 100_000 if is_nightly else 1_000

    async def scenario():
        async with running(make_engine(n_blocks=300)) as live:
            expected = {
                (account, n): await token_ids_of(live.submit(asked(prompt, SAMPLING)))
                for account in range(N_ACCOUNTS)
                for n, prompt in enumerate(prompts_of(account))
            }
        assert len(set(map(tuple, expected.values()))) > N_ACCOUNTS, "answers tell accounts apart"
        async with running(make_engine(n_blocks=40, max_running=8)) as live:
            todo = iter(range(n_answers))
            await asyncio.gather(*(caller(live, todo, expected) for _ in range(N_CALLERS)))
            assert live.n_live == 0

    asyncio.run(scenario())


async def caller(live, todo, expected):
    for number in todo:
        rng = random.Random(number)  # noqa: S311 - not for secrets
        account, n = rng.randrange(N_ACCOUNTS), rng.randrange(5)
        generation = live.submit(asked(prompts_of(account)[n], SAMPLING, account=str(account)))
        leaves_after = rng.choice([0, 1, 5, 99])
        received: list[int] = []
        if leaves_after == 0:
            generation.abort()
        async for piece in generation:
            received += piece.token_ids
            if len(received) >= leaves_after:
                generation.abort()
        assert received == expected[account, n][: len(received)], (number, account, n)
        assert len(received) == generation.n_output_tokens
