"""Who holds which block of the KV cache: integers alone.

It knows block ids, how often each is held, and tables of them. It knows neither the tensors
(`pool.py`), nor whose tables these are, nor how wide a model's window is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class BlockTable:
    """The blocks that hold one run of positions, in order; those in front may be given back.

    With block_size 4, n_reclaimed 2 and block_ids [7, 3]: position 9 is in block 7 (its index
    9 // 4 = 2 is the first that is still held), position 13 in block 3, positions 0 … 7 are gone.

    Attributes:
        block_ids: the blocks that are still held.
        n_reclaimed: how many blocks before block_ids[0] were given back.
    """

    block_ids: list[int] = field(default_factory=list)
    n_reclaimed: int = 0

    @property
    def n_blocks_ever(self) -> int:
        """Blocks held now or before: the index at which the next one will stand."""
        return self.n_reclaimed + len(self.block_ids)


class BlockManager:
    """Counts blocks: hands them out to tables, takes them back, shares them by reference.

    Lack of room is an answer here (`can_grow`), not an exception.

    Args:
        n_blocks, block_size: how many blocks there are; positions in each.
    """

    def __init__(self, n_blocks: int, block_size: int) -> None:
        if n_blocks < 1 or block_size < 1:
            raise ValueError(f"need at least one block and slot, got {n_blocks} and {block_size}")
        self.n_blocks = n_blocks
        self.block_size = block_size
        self._ref_counts = [0] * n_blocks
        self._free = list(range(n_blocks - 1, -1, -1))  # a stack: the block used last is warm
        self._tables: set[BlockTable] = set()

    @property
    def n_free(self) -> int:
        """Blocks that no table holds."""
        return len(self._free)

    @property
    def tables(self) -> frozenset[BlockTable]:
        """The tables that are open."""
        return frozenset(self._tables)

    def open(self) -> BlockTable:
        """Start an empty table."""
        table = BlockTable()
        self._tables.add(table)
        return table

    def fork(self, table: BlockTable) -> BlockTable:
        """Start a table over the same blocks; none of them may be written by either any more."""
        twin = BlockTable(list(table.block_ids), table.n_reclaimed)
        for block_id in twin.block_ids:
            self._ref_counts[block_id] += 1
        self._tables.add(twin)
        return twin

    def n_missing(self, table: BlockTable, n_positions: int) -> int:
        """Blocks that `table` lacks to cover positions 0 … n_positions − 1."""
        return max(0, blocks_for(n_positions, self.block_size) - table.n_blocks_ever)

    def can_grow(self, table: BlockTable, n_positions: int) -> bool:
        """Tell whether `grow` to this many positions would find enough free blocks."""
        return self.n_missing(table, n_positions) <= self.n_free

    def grow(self, table: BlockTable, n_positions: int) -> None:
        """Append free blocks until `table` covers positions 0 … n_positions − 1."""
        assert self.can_grow(table, n_positions), "ask can_grow first"
        for _ in range(self.n_missing(table, n_positions)):
            block_id = self._free.pop()
            self._ref_counts[block_id] = 1
            table.block_ids.append(block_id)

    def reclaim(self, table: BlockTable, first_position: int) -> None:
        """Give back the blocks of `table` that lie wholly before `first_position`."""
        n_behind = min(first_position // self.block_size - table.n_reclaimed, len(table.block_ids))
        if n_behind <= 0:
            return
        self._release(table.block_ids[:n_behind])
        del table.block_ids[:n_behind]
        table.n_reclaimed += n_behind

    def close(self, table: BlockTable) -> None:
        """Give back all blocks of `table` and forget it."""
        self._tables.remove(table)
        self._release(table.block_ids)
        table.block_ids.clear()

    def check_integrity(self) -> None:
        """Compare reference counts with the tables and the free list.

        Raises: AssertionError naming the first disagreement.
        """
        held = Counter(block_id for table in self._tables for block_id in table.block_ids)
        for block_id, count in enumerate(self._ref_counts):
            if count != held[block_id]:
                raise AssertionError(
                    f"block {block_id} counts {count}, held {held[block_id]} times"
                )
        free = set(self._free)
        if len(free) != len(self._free):
            raise AssertionError("a block is in the free list twice")
        if free & held.keys():
            raise AssertionError(f"blocks {sorted(free & held.keys())} are free and held")
        if len(free) + len(held) != self.n_blocks:
            raise AssertionError(f"{len(free)} free + {len(held)} held ≠ {self.n_blocks} blocks")

    def _release(self, block_ids: Sequence[int]) -> None:
        # Last block first, so that a table that is opened next gets them in order.
        for block_id in reversed(block_ids):
            self._ref_counts[block_id] -= 1
            if self._ref_counts[block_id] == 0:
                self._free.append(block_id)


def blocks_for(n_positions: int, block_size: int) -> int:
    """Blocks that hold positions 0 … n_positions − 1."""
    return -(-n_positions // block_size)


def window_blocks(window: int, block_size: int) -> int:
    """Blocks that `window` neighbouring positions touch at most, wherever they begin.

    With window 5 and block_size 4 the positions 3 … 7 touch 2 blocks, 7 … 11 too, but with
    window 6 the positions 3 … 8 touch 3.
    """
    return blocks_for(window - 1, block_size) + 1
