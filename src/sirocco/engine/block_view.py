"""What can be seen of a request's blocks while it is live. Plain values, without torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolView:
    """All blocks of an engine: n_free + n_idle + n_held = n_blocks.

    Attributes:
        n_free: nothing of use is in them.
        n_idle: nobody holds them, but what they hold has a name and may be wanted again.
        n_held: of sequences that run.
    """

    n_blocks: int
    block_size: int
    n_free: int
    n_idle: int
    n_held: int


@dataclass(frozen=True, slots=True)
class SequenceView:
    """Where one answer stands, and its block table.

    With block_size 4, n_computed 10, n_reclaimed 1 and block_ids [7, 3]: the block of positions
    0 … 3 was given back, block 7 is full, and 2 slots of block 3 are filled.

    Attributes:
        is_running: it holds blocks; else it waits.
        n_tokens: known ones, those of the prompt included.
        n_computed: tokens whose keys and values are in the cache, or were, behind the window.
        n_found: blocks of its beginning that the prefix cache had when it began to run.
        n_reclaimed: blocks in front that were given back, wholly behind the window.
        block_ids: the blocks that are held, in order of position.
        n_sharers: how many sequences hold each of them, this one included.
    """

    index: int
    is_running: bool
    n_prompt_tokens: int
    n_tokens: int
    n_computed: int
    n_found: int = 0
    n_reclaimed: int = 0
    block_ids: tuple[int, ...] = ()
    n_sharers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockView:
    """The blocks of a request's answers, and of the engine; no answer if the request is over."""

    sequences: tuple[SequenceView, ...]
    pool: PoolView
