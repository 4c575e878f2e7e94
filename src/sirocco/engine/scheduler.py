"""Who runs in the next step, and with how many tokens. It decides with integers alone.

Sequences are ordered by arrival, all through: every running one is older than every waiting
one. One that finds no block takes those of the youngest (it is preempted, and recomputed
later); the oldest can take them all, and no request is admitted that would not fit alone.
So the oldest advances in every step, and nothing can wait for ever.
"""

from collections import deque
from collections.abc import Sequence as Run
from dataclasses import dataclass

from sirocco.engine.sequence import Sequence, SequenceState
from sirocco.errors import OutOfCapacity
from sirocco.kvcache.block_manager import BlockManager, BlockTable, blocks_for, window_blocks
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
    def sampling(self) -> list[Chunk]:
        """The chunks after which a token is chosen, in order."""
        return [chunk for chunk in self.chunks if chunk.samples]


class Scheduler:
    """Continuous batching under one token budget per step: decode first, then prefill.

    Args:
        window: of the model; blocks behind it go back while a sequence runs.
        max_seq_len, max_step_tokens, max_running, max_waiting, n_guesses: see `EngineConfig`.
    """

    def __init__(
        self,
        blocks: BlockManager,
        *,
        window: int | None,
        max_seq_len: int,
        max_step_tokens: int,
        max_running: int,
        max_waiting: int,
        n_guesses: int = 0,
    ) -> None:
        self.blocks = blocks
        self.waiting: deque[Sequence] = deque()  # oldest first
        self.running: list[Sequence] = []  # oldest first
        self._window = window
        self._max_seq_len = max_seq_len
        self._max_step_tokens = max_step_tokens
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._n_guesses = n_guesses

    @property
    def limit_tokens(self) -> int:
        """Prompt plus output tokens of a sequence that fits when it is alone."""
        held_at_most = self._most_blocks(self._max_seq_len)
        if held_at_most <= self.blocks.n_blocks:
            return self._max_seq_len
        return self.blocks.n_blocks * self.blocks.block_size

    @property
    def has_work(self) -> bool:
        """Some sequence is not finished."""
        return bool(self.waiting or self.running)

    @property
    def is_full(self) -> bool:
        """One more waiting request would be refused."""
        return len(self.waiting) >= self._max_waiting

    def add(self, seq: Sequence) -> None:
        """Let `seq` wait for its turn. Raises: OutOfCapacity if too many do."""
        if self.is_full:
            raise OutOfCapacity(
                f"{len(self.waiting)} requests are waiting; at most {self._max_waiting} may"
            )
        assert seq.n_prompt_tokens + seq.max_tokens <= self.limit_tokens
        self.waiting.append(seq)

    def schedule(self) -> StepPlan:
        """Choose the next step's chunks, and give each the blocks it writes to."""
        chosen: dict[Sequence, int] = {}
        for seq in [seq for seq in self.running if seq.n_uncomputed == 1]:
            if seq.state is SequenceState.RUNNING and self._make_room(seq, 1, chosen):
                chosen[seq] = 1
        self._admit()
        self._share_prefill(chosen)
        n_left = self._max_step_tokens - sum(chosen.values())
        chunks = []
        for seq, n_tokens in chosen.items():
            samples = n_tokens == seq.n_uncomputed
            guesses = self._guess(seq, n_left) if samples else ()
            n_left -= len(guesses)
            chunks.append(Chunk(seq, n_tokens + len(guesses), samples, guesses))
        return StepPlan(tuple(chunks))

    def apply(self, plan: StepPlan, token_ids: Run[Run[int] | None]) -> None:
        """Record what a step computed: counts, chosen tokens, ends; give back blocks.

        Args:
            token_ids: for each chunk of `plan.sampling` the tokens that come next, as many of
                them as its guesses came true, and one; None if no token could be chosen, which
                ends the answer.
        """
        for chunk in plan.chunks:
            chunk.seq.n_computed += chunk.n_known_tokens
        for chunk, following in zip(plan.sampling, token_ids, strict=True):
            reason = FinishReason.ABORT if following is None else self._append(chunk, following)
            if reason is not None:
                self.finish(chunk.seq, reason)
        for chunk in plan.chunks:
            if chunk.seq.state is SequenceState.RUNNING:
                self._reclaim(chunk.seq)

    def finish(self, seq: Sequence, reason: FinishReason) -> None:
        """End a sequence in any state and give back its blocks; a finished one only renames."""
        if seq.state is SequenceState.RUNNING:
            self.running.remove(seq)
            self._close_table(seq)
        elif seq.state is SequenceState.WAITING:
            self.waiting.remove(seq)
        seq.state, seq.finish_reason = SequenceState.FINISHED, reason

    def check_integrity(self) -> None:
        """Compare states, tables and counts. Raises: AssertionError naming a disagreement."""
        self.blocks.check_integrity()
        for seq in self.waiting:
            if seq.state is not SequenceState.WAITING or seq.table is not None:
                raise AssertionError(f"{seq.request_id} waits, but is {seq.state} or holds blocks")
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
        seq.lookup.learn(len(chunk.guesses), len(token_ids) - 1)
        return reason

    def _guess(self, seq: Sequence, n_left: int) -> tuple[int, ...]:
        """Guess what follows a sequence, where computing it is cheap.

        Only for few sequences at once, since many keep the multipliers busy anyway; and only into
        blocks that the sequence holds already, so that a wrong guess leaves nothing behind.
        """
        if len(self.running) > _MOST_GUESSING:
            return ()
        n_slots = _table(seq).n_blocks_ever * self.blocks.block_size - seq.n_known
        n_wanted = seq.max_tokens - seq.n_output_tokens - 1
        limit = min(self._n_guesses, n_left, n_slots, n_wanted)
        return seq.lookup.guess(seq.token_ids, limit) if limit > 0 else ()

    def _admit(self) -> None:
        """Start waiting sequences, oldest first, while their whole prompts find blocks.

        A first chunk that fits is not enough: prompts half computed would fight over blocks.
        """
        promised = sum(self._blocks_to_prefill(seq) for seq in self.running)
        while self.waiting and len(self.running) < self._max_running:
            seq = self.waiting[0]
            needed = self._most_blocks(seq.n_known)
            # One spare block for each that runs, or the newcomer is soon preempted again.
            if self.blocks.n_free - promised - len(self.running) < needed:
                return
            promised += needed
            self.waiting.popleft()
            self.running.append(seq)
            seq.state, seq.table = SequenceState.RUNNING, self.blocks.open()

    def _share_prefill(self, chosen: dict[Sequence, int]) -> None:
        """Split what decode left of the budget fairly: who needs least is served first.

        Of 100 tokens, prompts of 10, 70 and 200 get 10, 45 and 45: all three advance.
        """
        prefilling = [seq for seq in self.running if seq not in chosen]
        prefilling.sort(key=lambda seq: seq.n_uncomputed)
        for index, seq in enumerate(prefilling):
            left = self._max_step_tokens - sum(chosen.values())
            share = min(seq.n_uncomputed, max(1, left // (len(prefilling) - index)))
            if left < 1 or seq.state is not SequenceState.RUNNING:
                continue
            if self._room(seq) < 1 and not self._make_room(seq, 1, chosen):
                continue
            n_tokens = min(share, self._room(seq))
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
            chosen.pop(youngest, None)
            self._preempt(youngest)
        self.blocks.grow(_table(seq), wanted)
        return True

    def _preempt(self, seq: Sequence) -> None:
        """Take all blocks back; the tokens stay, and are computed again later."""
        self.running.remove(seq)
        self._close_table(seq)
        seq.state, seq.n_computed = SequenceState.WAITING, 0
        self.waiting.appendleft(seq)

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
