"""Scheduler and block manager as a state machine, over a cache that remembers what was written.

The walk plays the model: each step writes into each slot what its keys and values would depend on
(the account, and every token up to the slot's position), and looks at whatever a token sees. So a
block that is shared wrongly, given back too early or written twice is seen at once.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sirocco.engine.scheduling.scheduler import Scheduler
from sirocco.engine.sequence import Sequence, SequenceState
from sirocco.kvcache.block_manager import BlockManager
from sirocco.kvcache.prefix import root_name
from sirocco.types import FinishReason, SamplingParams


class SchedulerWalk(RuleBasedStateMachine):
    """Arrivals of three accounts with common beginnings, steps, aborts, faults, wrong guesses."""

    @initialize(
        n_blocks=st.integers(2, 24), block_size=st.sampled_from([1, 2, 4]),
        window=st.none() | st.integers(1, 14), max_running=st.integers(1, 6),
        max_step_tokens=st.integers(6, 24), n_guesses=st.integers(0, 3),
        prefix_cache=st.booleans(),
    )  # fmt: skip
    def begin(self, n_blocks, block_size, window, **limits):
        self.window = window
        self.scheduler = Scheduler(
            BlockManager(n_blocks, block_size), window=window, max_seq_len=60, **limits
        )
        self.prefix_cache = limits["prefix_cache"]
        self.seqs = []
        self.slots = {}
        self.oldest_paused = None

    @rule(
        account=st.sampled_from("abc"),
        ends=st.tuples(st.integers(0, 1), st.integers(0, 2)),
        n_prompt=st.sampled_from([1, 4, 8, 9, 12, 16, 23, 24, 40]) | st.integers(1, 50),
        n_output=st.integers(1, 20), weight=st.sampled_from([0.5, 1.0, 3.0]),
    )  # fmt: skip
    def arrive(self, account, ends, n_prompt, n_output, weight):
        n_prompt = min(n_prompt, self.scheduler.limit_tokens - 1)
        if n_prompt < 1:
            return
        token_ids = [*[ends[0]] * (n_prompt - 1), ends[1]]
        n_output = min(n_output, self.scheduler.limit_tokens - n_prompt)
        seq = Sequence(
            f"{account}{len(self.seqs)}", token_ids, n_prompt, SamplingParams(), n_output, seed=0,
            account=account, weight=weight, root=root_name("account", account),
        )  # fmt: skip
        self.seqs.append(seq)
        self.scheduler.add(seq)

    @precondition(lambda self: self.scheduler.has_work)
    @rule(choices=st.lists(st.integers(0, 1), min_size=1, max_size=8), fails=st.integers(0, 20))
    def step(self, choices, fails):
        was_running = self.scheduler.running[:1]
        plan = self.scheduler.schedule()
        oldest = self.scheduler.running[0]
        before = oldest.n_computed
        pauses = oldest not in {chunk.seq for chunk in plan.chunks}
        # It pauses for a newcomer's prompt, but never in two of its steps one after the other.
        assert not pauses or self.oldest_paused is not oldest
        self.oldest_paused = oldest if pauses else None
        # The oldest gives way to nobody but one that is older, and was preempted for fairness.
        assert all(oldest.arrival <= seq.arrival for seq in was_running)
        assert sum(chunk.n_tokens for chunk in plan.chunks) <= self.scheduler._max_step_tokens
        for chunk in plan.chunks:
            self._write(chunk)
        for chunk in plan.chunks:
            self._look(chunk)
        following: list[list[int] | None] = []
        for index, chunk in enumerate(plan.sampling):
            n_true = choices[index % len(choices)] * len(chunk.guesses)
            next_id = choices[(index + 1) % len(choices)]
            following.append([*chunk.guesses[:n_true], next_id])
        if following and fails == 0:
            following[-1] = None
        self.scheduler.apply(plan, following)
        assert pauses or oldest.n_computed > before or oldest.state is SequenceState.FINISHED

    @precondition(lambda self: self.seqs)
    @rule(data=st.data())
    def abort(self, data):
        seq = data.draw(st.sampled_from(self.seqs))
        self.scheduler.finish(seq, FinishReason.ABORT)

    @invariant()
    def all_counts_agree(self):
        if not hasattr(self, "scheduler"):
            return
        scheduler, blocks = self.scheduler, self.scheduler.blocks
        scheduler.check_integrity()
        assert len(scheduler.running) <= scheduler._max_running
        assert self.prefix_cache or blocks.n_idle == 0
        live = {seq for seq in self.seqs if seq.state is not SequenceState.FINISHED}
        assert live == {*scheduler.running, *scheduler.waiting}
        assert scheduler.counters._n_live.keys() == {seq.account for seq in live}

    def teardown(self):
        if not hasattr(self, "scheduler"):
            return
        n_steps = 0
        while self.scheduler.has_work:
            self.step([0, 1], fails=1)
            n_steps += 1
            assert n_steps < 20_000, "nobody may wait for ever"
        assert self.scheduler.blocks.n_free == self.scheduler.blocks.n_blocks
        assert not self.scheduler.blocks.tables

    def _write(self, chunk):
        blocks, seq = self.scheduler.blocks, chunk.seq
        token_ids = [*seq.token_ids[: seq.n_computed + chunk.n_known_tokens], *chunk.guesses]
        for position in range(seq.n_computed, seq.n_computed + chunk.n_tokens):
            slot = self._slot(seq, position)
            assert blocks._ref_counts[slot[0]] == 1, "a shared block is never written"
            assert not blocks._named.is_named(slot[0]), "nor one that others may find"
            self.slots[slot] = (seq.account, tuple(token_ids[: position + 1]))

    def _look(self, chunk):
        seq = chunk.seq
        token_ids = [*seq.token_ids[: seq.n_computed + chunk.n_known_tokens], *chunk.guesses]
        window = self.window or len(token_ids)
        first = max(0, seq.n_computed - window + 1)
        for position in range(first, seq.n_computed + chunk.n_tokens):
            seen = self.slots.get(self._slot(seq, position))
            assert seen == (seq.account, tuple(token_ids[: position + 1]))

    def _slot(self, seq, position):
        block_size = self.scheduler.blocks.block_size
        index = position // block_size - seq.table.n_reclaimed
        assert index >= 0, "a position that is seen was given back"
        return seq.table.block_ids[index], position % block_size


def test_a_random_walk_finds_no_leak_no_stale_block_and_nobody_who_waits_for_ever(is_nightly):
    """A few thousand steps; with --nightly at least a million."""
    run_state_machine_as_test(
        SchedulerWalk,
        settings=settings(
            max_examples=12_500 if is_nightly else 60,
            stateful_step_count=80,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
