"""The engine's state for one answer: tokens, counts, and which blocks hold them."""

from dataclasses import dataclass, field
from enum import Enum, auto

from sirocco.engine.drafts import PromptLookup
from sirocco.engine.sampling.grammar import GrammarState
from sirocco.engine.sampling.token_counts import TokenCounts
from sirocco.kvcache.block_manager import BlockTable
from sirocco.kvcache.prefix import next_name
from sirocco.types import FinishReason, SamplingParams


class SequenceState(Enum):
    """Where a sequence stands; a preempted one waits again."""

    NEW = auto()
    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """One answer in the making.

    Attributes:
        token_ids: prompt, then output so far.
        max_tokens: output tokens at most; what was asked for, cut to what fits.
        account, weight: whose it is, and its share beside others.
        index: which of its request's n answers it is.
        arrival: older ones have smaller ones; answers to one prompt follow each other.
        root: name of the empty beginning, from which the names of its blocks are derived.
        names: of its full blocks, as far as they were needed.
        seed: of its random numbers; drawn at submission if the request names none.
        end_token_ids: output tokens that end it.
        n_cached_tokens: prompt tokens that were there when it ran first; None before that.
        turn: what its account had been served when it ran first.
        n_found_blocks: blocks of its beginning that were cached when it began to run, last time.
        n_named: blocks that were named, or had a name when they were found.
        n_computed: tokens whose keys and values are in the cache (or were, behind the window).
        table: its blocks while it runs, else None.
        lookup: guesses of what comes next.
        counts: of its tokens, where its sampling has penalties.
        grammar: where it stands in its grammar, if it has one.
    """

    request_id: str
    token_ids: list[int]
    n_prompt_tokens: int
    sampling: SamplingParams
    max_tokens: int
    seed: int
    end_token_ids: frozenset[int] = frozenset()
    account: str = ""
    weight: float = 1.0
    index: int = 0
    arrival: tuple[int, int] = (0, 0)
    root: bytes = field(default=b"", repr=False)
    names: list[bytes] = field(default_factory=list, repr=False)
    n_cached_tokens: int | None = None
    turn: float = 0.0
    n_found_blocks: int = 0
    n_named: int = 0
    n_computed: int = 0
    state: SequenceState = SequenceState.NEW
    finish_reason: FinishReason | None = None
    table: BlockTable | None = field(default=None, repr=False)
    lookup: PromptLookup = field(default_factory=PromptLookup, repr=False)
    counts: TokenCounts | None = field(default=None, repr=False)
    grammar: GrammarState | None = field(default=None, repr=False)

    @property
    def n_known(self) -> int:
        """Prompt and output tokens."""
        return len(self.token_ids)

    @property
    def n_uncomputed(self) -> int:
        """Tokens still to be run; 1 in decode."""
        return len(self.token_ids) - self.n_computed

    @property
    def n_output_tokens(self) -> int:
        """Output tokens so far."""
        return len(self.token_ids) - self.n_prompt_tokens

    @property
    def output_token_ids(self) -> list[int]:
        """A copy of the output tokens."""
        return self.token_ids[self.n_prompt_tokens :]

    def name_blocks(self, n_blocks: int, block_size: int) -> list[bytes]:
        """Return the names of the first blocks, which must be full of known tokens."""
        while len(self.names) < n_blocks:
            first = len(self.names) * block_size
            before = self.names[-1] if self.names else self.root
            self.names.append(next_name(before, self.token_ids[first : first + block_size]))
        return self.names[:n_blocks]

    def append(self, token_id: int) -> FinishReason | None:
        """Add an output token; say why the answer ends with it, if it does."""
        self.token_ids.append(token_id)
        if self.counts is not None:
            self.counts.append(token_id)
        if self.grammar is not None:
            self.grammar.accept(token_id)
        if token_id in self.end_token_ids:
            return FinishReason.STOP
        if self.n_output_tokens >= self.max_tokens:
            return FinishReason.LENGTH
        return None
