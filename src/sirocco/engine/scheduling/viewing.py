"""Which blocks a request's answers hold: a look that costs nothing when nobody looks."""

from sirocco.engine.block_view import BlockView, PoolView, SequenceView
from sirocco.engine.scheduling.scheduler import Scheduler
from sirocco.engine.sequence import Sequence
from sirocco.kvcache.block_manager import BlockManager


def view_blocks(scheduler: Scheduler, request_id: str) -> BlockView:
    """Look at the answers of a request that run or wait; nothing is changed."""
    blocks = scheduler.blocks
    live = [seq for seq in (*scheduler.running, *scheduler.waiting) if seq.request_id == request_id]
    live.sort(key=lambda seq: seq.index)
    return BlockView(tuple(_sequence_view(seq, blocks) for seq in live), _pool_view(blocks))


def _sequence_view(seq: Sequence, blocks: BlockManager) -> SequenceView:
    counts = (seq.index, seq.table is not None, seq.n_prompt_tokens, seq.n_known, seq.n_computed)
    if seq.table is None:
        return SequenceView(*counts)
    return SequenceView(
        *counts,
        n_found=seq.n_found_blocks,
        n_reclaimed=seq.table.n_reclaimed,
        block_ids=tuple(seq.table.block_ids),
        n_sharers=tuple(blocks.n_holders(block_id) for block_id in seq.table.block_ids),
    )


def _pool_view(blocks: BlockManager) -> PoolView:
    return PoolView(
        n_blocks=blocks.n_blocks,
        block_size=blocks.block_size,
        n_free=blocks.n_free - blocks.n_idle,
        n_idle=blocks.n_idle,
        n_held=blocks.n_blocks - blocks.n_free,
    )
