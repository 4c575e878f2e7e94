"""An answer that is given up, in whatever phase it is, holds nothing from then on."""

import random
from collections import Counter

from sirocco.engine.request import Request
from sirocco.engine.sequence import SequenceState
from sirocco.types import SamplingParams

MOST_LIVE = 10


def phase_of(engine, request_id):
    """Say what the first answer to a request is doing."""
    seq = engine._live[request_id].answers[0].seq
    if seq.state is SequenceState.WAITING:
        return "preempted" if seq.n_cached_tokens is not None else "waiting"
    return "prefill" if seq.n_computed < seq.n_prompt_tokens else "decode"


def some_request(name, rng):
    sampling = SamplingParams(
        max_tokens=rng.randint(2, 60), temperature=0.0, ignore_eos=True, n=rng.choice([1, 1, 1, 2])
    )
    prompt = [rng.randrange(3, 250) for _ in range(rng.randint(1, 80))]
    return Request(name, prompt, sampling, account=rng.choice("abc"))


def test_whoever_is_given_up_in_any_phase_holds_no_block_and_is_heard_no_more(
    make_engine, is_nightly
):
    """300 of them, 10 000 with --nightly; blocks and steps are so few that all phases occur."""
    engine = make_engine(n_blocks=30, max_running=4, max_step_tokens=24)
    rng = random.Random(7)  # noqa: S311 - not for secrets
    phases: Counter[str] = Counter()
    n_asked = 0
    while phases.total() < (10_000 if is_nightly else 300):
        while len(engine.live_ids) < MOST_LIVE:
            n_asked += 1
            engine.add(some_request(f"r{n_asked}", rng))
        for _ in range(rng.randint(0, 3)):
            engine.step()
        if not engine.live_ids:
            continue
        given_up = rng.choice(engine.live_ids)
        phases[phase_of(engine, given_up)] += 1

        engine.abort(given_up)

        assert not engine.view_blocks(given_up).sequences
        engine.scheduler.check_integrity()
        assert given_up not in {piece.request_id for piece in engine.step()}
    for request_id in engine.live_ids:
        engine.abort(request_id)

    assert set(phases) == {"waiting", "prefill", "decode", "preempted"}
    assert engine.scheduler.blocks.n_free == engine.runner.n_blocks
