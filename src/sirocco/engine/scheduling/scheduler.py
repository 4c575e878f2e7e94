"""Who runs in the next step, and with how many tokens. It decides with integers alone.

Among accounts, who was served least is admitted next (`fairness.py`); within one, the oldest.
Running sequences are ordered by arrival. One that finds no block takes those of the youngest
(it is preempted, and recomputed later); the oldest can take them all, and no request is admitted
that would not fit alone. So the oldest that runs advances in every second step at least, and since
a preempted one comes back to its old place, nothing can wait for ever.

Where accounts share an engine, one that has many answers running lets the prompt of one that has
fewer go first: it pauses for a step, but never for two in a row.
"""

from bisect import insort
from collections import Counter
from collections.abc import Sequence as Run
from dataclasses import dataclass
from itertools import count

from sirocco.engine.scheduling.fairness import (
    OUTPUT_COST,
    PROMPT_COST,
    ServiceCounters,
    split_fairly,
    split_shortest_first,
)
from sirocco.engine.scheduling.waiting import WaitingQueue
from sirocco.engine.sequence import Sequence, SequenceState
from sirocco.kvcache.block_manager import (
    BlockManager,
    BlockTable,
    CachedPrefix,
    blocks_for,
    window_blocks,
)
from sirocco.types import FinishReason

_MOST_GUESSING = 4
"""Running sequences up to which guesses are worth their arithmetic."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens that one sequence runs in a step.

    Attributes:
        n_tokens: how many, the guesses included.
        samples: the last known token is among them, so a next one is chosen.
        guesses: tokens after the last known one, which may come true.
    """

    seq: Sequence
    n_tokens: int
    samples: bool
    guesses: tuple[int, ...] = ()

    @property
    def n_known_tokens(self) -> int:
        """Tokens of the sequence itself."""
        return self.n_tokens - len(self.guesses)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step computes: its chunks lie end to end."""

    chunks: tuple[Chunk, ...]

    @property
    def is_empty(self) -> bool:
        """Nobody runs."""
        return not self.chunks

    @property
    def n_tokens(self) -> int:
        """Tokens of all chunks."""
        return sum(chunk.n_tokens for chunk in self.chunks)

    @property
    def sampling(self) -> list[Chunk]:
        """The chunks after which a token is chosen, in order."""
        return [chunk for chunk in self.chunks if chunk.samples]


class Scheduler:
    """Continuous batching under one token budget per step: decode first, then prefill.

    Args:
        window: of the model; blocks behind it go back while a sequence runs.
        max_seq_len, max_step_tokens, max_running, n_guesses, prefix_cache: see `EngineConfig`.
    """

    def __init__(
        self,
        blocks: BlockManager,
        *,
        window: int | None,
        max_seq_len: int,
        max_step_tokens: int,
        max_running: int,
        n_guesses: int = 0,
        prefix_cache: bool = True,
    ) -> None:
        self.blocks = blocks
        self.waiting = WaitingQueue()
        self.running: list[Sequence] = []  # oldest first
        self.counters = ServiceCounters()
        self._window = window
        self._max_seq_len = max_seq_len
        self._max_step_tokens = max_step_tokens
        self._max_running = max_running
        self._n_guesses = n_guesses
        self._prefix_cache = prefix_cache
        self._arrivals = count(1)
        self._has_paused = False  # somebody, in the step before
        self._n_runnable = max_running

    @property
    def limit_tokens(self) -> int:
        """Prompt plus output tokens of a sequence that fits when it is alone."""
        held_at_most = self._most_blocks(self._max_seq_len)
        if held_at_most <= self.blocks.n_blocks:
            return self._max_seq_len
        return self.blocks.n_blocks * self.blocks.block_size

    @property
    def n_runnable(self) -> int:
        """Sequences that can run at once, as the last step saw it: blocks may allow fewer."""
        return self._n_runnable

    @property
    def has_work(self) -> bool:
        """Some sequence is not finished."""
        return bool(self.waiting or self.running)

    def add(self, seq: Sequence, *, like: Sequence | None = None) -> None:
        """Let `seq` wait for its turn.

        Args:
            like: another answer to the same prompt: they arrived together.
        """
        assert seq.n_prompt_tokens + seq.max_tokens <= self.limit_tokens
        seq.arrival = (next(self._arrivals), 0) if like is None else (like.arrival[0], seq.index)
        seq.state = SequenceState.WAITING
        self.counters.enter(seq.account)
        self.waiting.add(seq)

    def schedule(self, max_tokens: int | None = None) -> StepPlan:
        """Choose the next step's chunks, and give each the blocks it writes to.

        Args:
            max_tokens: in this step, if less than in any; each sequence gets one in any case.
        """
        budget = self._max_step_tokens if max_tokens is None else max_tokens
        budget = min(self._max_step_tokens, max(self._max_running, budget))
        chosen: dict[Sequence, int] = {}
        for seq in [seq for seq in self.running if seq.n_uncomputed == 1]:
            if seq.state is SequenceState.RUNNING and self._make_room(seq, 1, chosen):
                chosen[seq] = 1
        self._admit(chosen)
        self._n_runnable = len(self.running) if self.waiting else self._max_running
        pausing = self._pausing()
        chosen = {seq: n for seq, n in chosen.items() if seq.account not in pausing}
        self._share_prefill(chosen, budget, pausing)
        n_left = budget - sum(chosen.values())
        chunks = []
        for seq, n_tokens in chosen.items():
            samples = n_tokens == seq.n_uncomputed
            guesses = self._guess(seq, n_left) if samples else ()
            n_left -= len(guesses)
            chunks.append(Chunk(seq, n_tokens + len(guesses), samples, guesses))
        return StepPlan(tuple(chunks))

    def schedule_ahead(self, plan: StepPlan) -> StepPlan | None:
        """Plan the step after one that is under way, whose tokens nobody knows yet.

        Args:
            plan: a step of pure decode.

        Returns: decode of all its sequences but those that certainly end with it; None if
            somebody waits, blocks are short, or else something has to be decided first.
        """
        alive = [c.seq for c in plan.chunks if c.seq.state is SequenceState.RUNNING]
        if self.waiting or len(alive) != len(self.running):
            return None
        going_on = [seq for seq in alive if seq.n_output_tokens + 1 < seq.max_tokens]
        n_missing = sum(self.blocks.n_missing(_table(seq), seq.n_known + 1) for seq in going_on)
        if not going_on or n_missing > self.blocks.n_free:
            return None
        for seq in going_on:
            self.blocks.grow(_table(seq), seq.n_known + 1)
        return StepPlan(tuple(Chunk(seq, 1, samples=True) for seq in going_on))

    def apply(self, plan: StepPlan, token_ids: Run[Run[int] | None]) -> None:
        """Record what a step computed: counts, chosen tokens, ends; give back blocks.

        Args:
            token_ids: for each chunk of `plan.sampling` the tokens that come next, as many of
                them as its guesses came true, and one; None if no token could be chosen, which
                ends the answer.
        """
        following_of = dict(zip((c.seq for c in plan.sampling), token_ids, strict=True))
        for chunk in plan.chunks:
            seq = chunk.seq
            seq.n_computed += chunk.n_known_tokens
            following = following_of.get(seq, ())
            if following is None:  # what was computed is of no use: it gets no name
                self.finish(seq, FinishReason.ABORT)
                continue
            reason = self._append(chunk, following) if following else None
            self._name_blocks(seq)
            if reason is not None:
                self.finish(seq, reason)
            else:
                self._reclaim(seq)

    def finish(self, seq: Sequence, reason: FinishReason) -> None:
        """End a sequence in any state and give back its blocks; a finished one only renames."""
        if seq.state is SequenceState.RUNNING:
            self.running.remove(seq)
            self._close_table(seq)
        elif seq.state is SequenceState.WAITING:
            self.waiting.remove(seq)
        if seq.state is not SequenceState.FINISHED:
            self.counters.leave(seq.account)
        seq.state, seq.finish_reason = SequenceState.FINISHED, reason

    def check_integrity(self) -> None:
        """Compare states, tables and counts. Raises: AssertionError naming a disagreement."""
        self.blocks.check_integrity()
        for seq in self.waiting:
            if seq.state is not SequenceState.WAITING or seq.table is not None:
                raise AssertionError(f"{seq.request_id} waits, but is {seq.state} or holds blocks")
        if self.running != sorted(self.running, key=_arrival):
            raise AssertionError("the running sequences are not in the order of their arrival")
        for seq in self.running:
            table = seq.table
            if seq.state is not SequenceState.RUNNING or table is None:
                raise AssertionError(f"{seq.request_id} runs, but is {seq.state} or has no table")
            if table.n_blocks_ever * self.blocks.block_size < seq.n_computed:
                raise AssertionError(f"{seq.request_id} computed more than its blocks hold")

    def _append(self, chunk: Chunk, token_ids: Run[int]) -> FinishReason | None:
        """Add tokens up to the one that ends the answer; those that were guessed are computed."""
        seq = chunk.seq
        reason = None
        for index, token_id in enumerate(token_ids):
            seq.n_computed += index > 0
            reason = seq.append(token_id)
            if reason is not None:
                break
        self.counters.charge(seq.account, OUTPUT_COST * (index + 1), seq.weight)
        seq.lookup.learn(len(chunk.guesses), len(token_ids) - 1)
        return reason

    def _guess(self, seq: Sequence, n_left: int) -> tuple[int, ...]:
        """Guess what follows a sequence, where computing it is cheap.

        Only for few sequences at once, since many keep the multipliers busy anyway; and only into
        blocks that the sequence holds already, so that a wrong guess leaves nothing behind.
        """
        if len(self.running) > _MOST_GUESSING or seq.grammar is not None:
            return ()
        n_slots = _table(seq).n_blocks_ever * self.blocks.block_size - seq.n_known
        n_wanted = seq.max_tokens - seq.n_output_tokens - 1
        limit = min(self._n_guesses, n_left, n_slots, n_wanted)
        return seq.lookup.guess(seq.token_ids, limit) if limit > 0 else ()

    def _admit(self, chosen: dict[Sequence, int]) -> None:
        """Start waiting sequences while their whole prompts find blocks.

        A first chunk that fits is not enough: prompts half computed would fight over blocks.
        """
        while self.waiting:
            seq = min(self.waiting.heads, key=self._turn)
            prefix = self._find_prefix(seq)
            needed = self._blocks_to_start(seq, prefix)
            if not self._fits(needed, self.running):
                if not self._give_way(seq.account, needed, chosen):
                    return
                continue  # blocks that were given back may hold more of the prefix
            self._start(seq, prefix)

    def _pausing(self) -> set[str]:
        """Choose the accounts that pause for this step, so that it is short for a newcomer.

        An account pauses for a prompt of another that has fewer answers running, and had been
        served no more when it came. So the first token of somebody who asks little waits for one
        step of the crowd, not for a place in each of the next ones.
        """
        n_running = Counter(seq.account for seq in self.running)
        newcomers = [seq for seq in self.running if seq.n_computed < seq.n_prompt_tokens]
        pausing = {
            name
            for name, n in n_running.items()
            if any(
                n_running[seq.account] < n and seq.turn <= self.counters.served(name)
                for seq in newcomers
            )
        }
        if self._has_paused or len(n_running) == 1:
            pausing.clear()
        self._has_paused = bool(pausing)
        return pausing

    def _turn(self, seq: Sequence) -> tuple[float, tuple[int, int]]:
        """Return what waiting sequences are compared by: the least is next."""
        return self.counters.served(seq.account), seq.arrival

    def _start(self, seq: Sequence, prefix: CachedPrefix) -> None:
        self.waiting.remove(seq)
        insort(self.running, seq, key=_arrival)
        seq.state, seq.table = SequenceState.RUNNING, self.blocks.open(prefix)
        seq.n_found_blocks = seq.n_named = prefix.n_blocks
        seq.n_computed = prefix.n_blocks * self.blocks.block_size
        if seq.n_cached_tokens is None:  # it starts for the first time
            seq.n_cached_tokens = seq.n_computed
            seq.turn = self.counters.served(seq.account)
            cost = PROMPT_COST * (seq.n_prompt_tokens - seq.n_cached_tokens)
            self.counters.charge(seq.account, cost, seq.weight)

    def _find_prefix(self, seq: Sequence) -> CachedPrefix:
        """Find what of a sequence is there already; one token at least is left to compute."""
        if not self._prefix_cache:
            return CachedPrefix()
        n_blocks = (seq.n_known - 1) // self.blocks.block_size
        names = seq.name_blocks(n_blocks, self.blocks.block_size)
        return self.blocks.find_prefix(names, self._window)

    def _name_blocks(self, seq: Sequence) -> None:
        """Name the blocks that were filled, so that others find what is in them."""
        n_full = seq.n_computed // self.blocks.block_size
        if not self._prefix_cache or n_full == seq.n_named:
            return
        names = seq.name_blocks(n_full, self.blocks.block_size)
        for index in range(seq.n_named, n_full):
            self.blocks.name(_table(seq), index, names[index])
        seq.n_named = n_full

    def _blocks_to_start(self, seq: Sequence, prefix: CachedPrefix) -> int:
        """Blocks that a waiting sequence takes from those that nobody holds."""
        in_all = blocks_for(seq.n_known, self.blocks.block_size)
        n_taken = in_all - prefix.n_blocks + self.blocks.n_idle_of(prefix)
        return min(n_taken, self._most_blocks(seq.n_known))

    def _fits(self, n_blocks: int, running: Run[Sequence], n_back: int = 0) -> bool:
        """Tell whether one more can start beside `running`, if `n_back` blocks are given back."""
        # One spare block for each that runs, or the newcomer is soon preempted again.
        promised = sum(self._blocks_to_prefill(seq) + 1 for seq in running)
        n_free = self.blocks.n_free + n_back
        return len(running) < self._max_running and n_free - promised >= n_blocks

    def _give_way(self, account: str, n_blocks: int, chosen: dict[Sequence, int]) -> bool:
        """Make room for an account of which less runs than of others, which were served more.

        Of these, who has two more running at least gives way: the account that was served most,
        its youngest first. Returns: False if that would not be enough; then nobody is preempted.
        """
        served = self.counters.served
        n_mine = sum(seq.account == account for seq in self.running)
        staying, going = list(self.running), list[Sequence]()
        while not self._fits(n_blocks, staying, _n_held(going)):
            n_running = Counter(seq.account for seq in staying)
            crowd = [
                name
                for name, n in n_running.items()
                if n > n_mine + 1 and served(name) > served(account)
            ]
            if not crowd:
                return False
            most = max(crowd, key=served)
            going.append(next(seq for seq in reversed(staying) if seq.account == most))
            staying.remove(going[-1])
        for seq in going:
            self._preempt(seq, chosen)
        return True

    def _share_prefill(self, chosen: dict[Sequence, int], budget: int, pausing: set[str]) -> None:
        """Split what decode left of the budget: a token for each, the rest fairly.

        Among accounts by weight; within each the shortest prompt is computed first, since all of
        them side by side would have their first tokens together, and late.
        """
        prefilling = [
            seq for seq in self.running if seq not in chosen and seq.account not in pausing
        ]
        spare = budget - sum(chosen.values()) - len(prefilling)
        shares = _prefill_shares(prefilling, max(0, spare))
        for seq in prefilling:
            if seq.state is not SequenceState.RUNNING:
                continue
            if self._room(seq) < 1 and not self._make_room(seq, 1, chosen):
                continue
            n_tokens = min(shares[seq], self._room(seq))
            self.blocks.grow(_table(seq), seq.n_computed + n_tokens)
            chosen[seq] = n_tokens

    def _room(self, seq: Sequence) -> int:
        """Tokens that `seq` can add in its own blocks and the free ones."""
        n_blocks = _table(seq).n_blocks_ever + self.blocks.n_free
        return n_blocks * self.blocks.block_size - seq.n_computed

    def _make_room(self, seq: Sequence, n_tokens: int, chosen: dict[Sequence, int]) -> bool:
        """Grow `seq`'s table by `n_tokens`, preempting younger sequences if it must.

        Returns: False if even that is not enough; it keeps its blocks and waits a step.
        """
        wanted = seq.n_computed + n_tokens
        while not self.blocks.can_grow(_table(seq), wanted):
            youngest = self.running[-1]
            if youngest is seq:
                return False
            self._preempt(youngest, chosen)
        self.blocks.grow(_table(seq), wanted)
        return True

    def _preempt(self, seq: Sequence, chosen: dict[Sequence, int]) -> None:
        """Take all blocks back; the tokens stay, and are computed again later."""
        chosen.pop(seq, None)
        self.running.remove(seq)
        self._close_table(seq)
        seq.state, seq.n_computed = SequenceState.WAITING, 0
        self.waiting.add(seq)

    def _reclaim(self, seq: Sequence) -> None:
        """Give back the blocks that the next token's window does not reach."""
        if self._window is not None:
            self.blocks.reclaim(_table(seq), seq.n_computed - self._window + 1)

    def _close_table(self, seq: Sequence) -> None:
        self.blocks.close(_table(seq))
        seq.table = None

    def _blocks_to_prefill(self, seq: Sequence) -> int:
        """Blocks that a running sequence will still take for the tokens it knows."""
        return max(0, self._most_blocks(seq.n_known) - len(_table(seq).block_ids))

    def _most_blocks(self, n_positions: int) -> int:
        """Blocks that a sequence needs at once to get through its first `n_positions`."""
        in_all = blocks_for(n_positions, self.blocks.block_size)
        if self._window is None:
            return in_all
        return min(in_all, window_blocks(self._window, self.blocks.block_size))


def _table(seq: Sequence) -> BlockTable:
    assert seq.table is not None, "a running sequence has a table"
    return seq.table


def _arrival(seq: Sequence) -> tuple[int, int]:
    return seq.arrival


def _n_held(seqs: Run[Sequence]) -> int:
    """Blocks that come back if these are preempted; fewer, where they share some."""
    return len({block_id for seq in seqs for block_id in _table(seq).block_ids})


def _prefill_shares(prefilling: Run[Sequence], spare: int) -> dict[Sequence, int]:
    """Tokens for each: one, and what it gets of the spare ones."""
    by_account: dict[str, list[Sequence]] = {}
    for seq in prefilling:
        by_account.setdefault(seq.account, []).append(seq)
    groups = list(by_account.values())
    of_accounts = split_fairly(
        spare,
        [sum(seq.n_uncomputed - 1 for seq in group) for group in groups],
        [group[0].weight for group in groups],
    )
    shares = {}
    for group, total in zip(groups, of_accounts, strict=True):
        within = split_shortest_first(total, [seq.n_uncomputed - 1 for seq in group])
        shares.update({seq: 1 + n for seq, n in zip(group, within, strict=True)})
    return shares
