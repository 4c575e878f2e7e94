"""Who runs: with integers alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco.engine.scheduling.scheduler import Scheduler
from sirocco.engine.sequence import Sequence, SequenceState
from sirocco.kvcache.block_manager import BlockManager, blocks_for
from sirocco.types import FinishReason, SamplingParams


def make_scheduler(n_blocks=100, block_size=4, **changes):
    limits = {
        "window": None, "max_seq_len": 64, "max_step_tokens": 16, "max_running": 8,
        "prefix_cache": False,
    }  # fmt: skip
    return Scheduler(BlockManager(n_blocks, block_size), **(limits | changes))


def make_seq(name, n_prompt_tokens, max_tokens=8):
    return Sequence(name, list(range(n_prompt_tokens)), n_prompt_tokens, SamplingParams(),
                    max_tokens, seed=0)  # fmt: skip


def step(scheduler):
    """One step in which every chosen token is 7; returns tokens per sequence."""
    plan = scheduler.schedule()
    scheduler.apply(plan, [[7]] * len(plan.sampling))
    scheduler.check_integrity()
    return {chunk.seq.request_id: chunk.n_tokens for chunk in plan.chunks}


def run_dry(scheduler, limit=10_000):
    steps = []
    while scheduler.has_work:
        steps.append(step(scheduler))
        assert len(steps) < limit
    return steps


def test_three_callers_advance_in_every_step():
    scheduler = make_scheduler()
    for name in "abc":
        scheduler.add(make_seq(name, 3, max_tokens=5))

    steps = run_dry(scheduler)

    assert steps == [{"a": 3, "b": 3, "c": 3}] + [{"a": 1, "b": 1, "c": 1}] * 4


def test_a_long_prompt_is_cut_into_chunks_that_fit_the_budget():
    scheduler = make_scheduler(max_step_tokens=16)
    scheduler.add(make_seq("long", 40, max_tokens=1))

    steps = run_dry(scheduler)

    assert [tokens["long"] for tokens in steps] == [16, 16, 8]


def test_decode_goes_on_while_a_long_prompt_is_prefilled():
    scheduler = make_scheduler(max_step_tokens=16)
    scheduler.add(make_seq("talking", 3, max_tokens=8))
    step(scheduler)
    scheduler.add(make_seq("reading", 40))

    steps = [step(scheduler) for _ in range(3)]

    assert [tokens["talking"] for tokens in steps] == [1, 1, 1]
    assert [tokens["reading"] for tokens in steps] == [15, 15, 10]


def test_short_prompts_do_not_wait_behind_long_ones():
    scheduler = make_scheduler(max_step_tokens=20)
    scheduler.add(make_seq("long", 50))
    scheduler.add(make_seq("short", 4))

    assert step(scheduler) == {"long": 16, "short": 4}


def test_the_oldest_are_admitted_first_and_no_more_than_max_running():
    scheduler = make_scheduler(max_running=2)
    for name in "abc":
        scheduler.add(make_seq(name, 3, max_tokens=2))

    steps = run_dry(scheduler)

    assert [sorted(tokens) for tokens in steps] == [["a", "b"], ["a", "b"], ["c"], ["c"]]


def test_the_youngest_gives_way_when_blocks_run_out_and_is_computed_again():
    scheduler = make_scheduler(n_blocks=5, block_size=4)
    old, young = make_seq("old", 4, max_tokens=12), make_seq("young", 4, max_tokens=12)
    scheduler.add(old)
    scheduler.add(young)

    saw_preemption = False
    while scheduler.has_work:
        step(scheduler)
        saw_preemption |= young.state is SequenceState.WAITING and young.n_output_tokens > 0

    assert saw_preemption
    assert old.n_output_tokens == young.n_output_tokens == 12
    assert scheduler.blocks.n_free == 5


def test_it_tells_how_many_can_run_at_once():
    """As many as may, but where blocks are short."""
    scheduler = make_scheduler(n_blocks=4, block_size=4, max_running=8)
    counts = [scheduler.n_runnable]
    for name in "abc":
        scheduler.add(make_seq(name, 4, max_tokens=3))
    while scheduler.has_work:
        step(scheduler)
        counts.append(scheduler.n_runnable)

    assert counts == [8, 2, 2, 2, 8, 8, 8]


@pytest.mark.parametrize("steps_before", [0, 1, 5], ids=["waiting", "prefill", "decode"])
def test_an_aborted_sequence_gives_its_blocks_back_at_once(steps_before):
    scheduler = make_scheduler(max_step_tokens=16)
    seq = make_seq("a", 40)
    scheduler.add(seq)
    for _ in range(steps_before):
        step(scheduler)

    scheduler.finish(seq, FinishReason.ABORT)

    assert scheduler.blocks.n_free == 100
    assert not scheduler.has_work
    scheduler.check_integrity()


@pytest.mark.parametrize("block_size", [1, 3, 4, 16])
@pytest.mark.parametrize("window", [5, 16, 17])
@pytest.mark.parametrize("max_step_tokens", [1, 7, 32])
def test_ten_windows_hold_one_window_of_blocks_and_the_chunk_in_flight(
    block_size, window, max_step_tokens
):
    """⌈W/P⌉ + 1 blocks, plus those of the chunk, whatever the length."""
    scheduler = make_scheduler(
        n_blocks=400, block_size=block_size, window=window, max_seq_len=10 * window,
        max_step_tokens=max_step_tokens, max_running=1,
    )  # fmt: skip
    seq = make_seq("a", 6 * window, max_tokens=4 * window)
    scheduler.add(seq)

    longest = 0
    while scheduler.has_work:
        plan = scheduler.schedule()
        (chunk,) = plan.chunks
        in_flight = blocks_for(chunk.n_tokens, block_size) if chunk.n_tokens > 1 else 0
        assert len(seq.table.block_ids) <= -(-window // block_size) + 1 + in_flight
        scheduler.apply(plan, [[7]] * len(plan.sampling))
        if seq.table is not None:
            assert len(seq.table.block_ids) <= -(-window // block_size) + 1
        longest = seq.n_known

    assert longest == 10 * window


def test_a_window_lets_a_long_sequence_through_a_small_cache():
    scheduler = make_scheduler(n_blocks=5, block_size=4, window=16, max_seq_len=1000)

    assert scheduler.limit_tokens == 1000
    scheduler.add(make_seq("a", 300, max_tokens=100))
    run_dry(scheduler)
    assert scheduler.blocks.n_free == 5


def test_without_room_for_a_whole_window_the_limit_is_the_cache():
    scheduler = make_scheduler(n_blocks=4, block_size=4, window=16, max_seq_len=1000)

    assert scheduler.limit_tokens == 16


def test_a_token_that_could_not_be_chosen_ends_its_answer_alone():
    scheduler = make_scheduler()
    bad, good = make_seq("bad", 3), make_seq("good", 3)
    scheduler.add(bad)
    scheduler.add(good)
    plan = scheduler.schedule()

    scheduler.apply(plan, [None, [7]])

    assert bad.finish_reason is FinishReason.ABORT
    assert good.state is SequenceState.RUNNING
    scheduler.check_integrity()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_comes_and_goes_everyone_finishes_and_nothing_leaks(data):
    """Random arrivals and aborts; the oldest advances in every step, so all of it ends."""
    window = data.draw(st.none() | st.integers(1, 20))
    n_blocks = data.draw(st.integers(2, 12))
    scheduler = make_scheduler(
        n_blocks=n_blocks, block_size=data.draw(st.sampled_from([1, 3, 4])), window=window,
        max_step_tokens=data.draw(st.integers(4, 12)), max_running=4,
    )  # fmt: skip
    seqs = []
    for index in range(data.draw(st.integers(1, 8))):
        n_prompt = data.draw(st.integers(1, max(1, scheduler.limit_tokens - 1)))
        room = scheduler.limit_tokens - n_prompt
        if room < 1:
            continue
        seqs.append(make_seq(f"s{index}", n_prompt, data.draw(st.integers(1, room))))
        scheduler.add(seqs[-1])
        for _ in range(data.draw(st.integers(0, 3))):
            step(scheduler)
        if data.draw(st.booleans()):
            scheduler.finish(data.draw(st.sampled_from(seqs)), FinishReason.ABORT)
            scheduler.check_integrity()

    while scheduler.has_work:
        oldest = (scheduler.running or list(scheduler.waiting))[0]
        before = oldest.n_computed
        step(scheduler)
        assert oldest.n_computed > before

    assert scheduler.blocks.n_free == n_blocks
    assert all(seq.state is SequenceState.FINISHED for seq in seqs)
