"""Who holds which block of the KV cache: integers alone.

It knows block ids, how often each is held, tables of them, and the names of what they hold
(`prefix.py`). It knows neither the tensors (`pool.py`) nor whose tables these are.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sirocco.kvcache.prefix import NamedBlocks


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


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """A beginning whose keys and values are there already, as far as they are still needed.

    Attributes:
        n_blocks: blocks of the beginning.
        block_ids: those that the next token sees; the ones before them need not be there.
    """

    n_blocks: int = 0
    block_ids: tuple[int, ...] = ()


class BlockManager:
    """Counts blocks: hands them out to tables, takes them back, shares them by reference.

    A block is free (nothing of use in it), held (by one or several tables), or idle: no table
    holds it, but what it holds has a name and may be wanted again. Free blocks are taken first,
    then the one that has been idle longest. Lack of room is an answer here (`can_grow`), not an
    exception.

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
        self._named = NamedBlocks()

    @property
    def n_free(self) -> int:
        """Blocks that no table holds, idle ones included."""
        return len(self._free) + self._named.n_idle

    @property
    def n_idle(self) -> int:
        """Blocks that no table holds, but whose contents can be found by name."""
        return self._named.n_idle

    def n_holders(self, block_id: int) -> int:
        """Tables that hold a block; 0 for a free or an idle one."""
        return self._ref_counts[block_id]

    @property
    def tables(self) -> frozenset[BlockTable]:
        """The tables that are open."""
        return frozenset(self._tables)

    def open(self, prefix: CachedPrefix | None = None) -> BlockTable:
        """Start a table, empty or with the blocks of a beginning that was found just now.

        Named blocks are never written again: a table grows into blocks of its own.
        """
        prefix = prefix or CachedPrefix()
        for block_id in prefix.block_ids:
            if self._named.is_idle(block_id):
                self._named.wake(block_id)
            self._ref_counts[block_id] += 1
        n_behind = prefix.n_blocks - len(prefix.block_ids)
        table = BlockTable(list(prefix.block_ids), n_behind)
        self._tables.add(table)
        return table

    def find_prefix(self, names: Sequence[bytes], window: int | None) -> CachedPrefix:
        """Find the longest beginning from which a sequence can go on.

        With a window only the blocks are needed that the next token sees: with block_size 4 and
        window 6, after 3 blocks the next position is 12 and sees 7 … 12, so blocks 1 and 2.

        Args:
            names: of the sequence's full blocks, in order.
            window: of the model; None sees everything.
        """
        best = CachedPrefix()
        found: list[int] = []  # the run of blocks that ends here
        for index, name in enumerate(names):
            block_id = self._named.find(name)
            if block_id is None:
                if window is None:
                    break
                found.clear()
                continue
            found.append(block_id)
            position = (index + 1) * self.block_size
            first = 0 if window is None else max(0, position - window + 1) // self.block_size
            n_needed = index + 1 - first
            if len(found) >= n_needed:
                best = CachedPrefix(index + 1, tuple(found[len(found) - n_needed :]))
        return best

    def n_idle_of(self, prefix: CachedPrefix) -> int:
        """Blocks of a beginning that no table holds: opening it takes them from the free ones."""
        return sum(self._named.is_idle(block_id) for block_id in prefix.block_ids)

    def name(self, table: BlockTable, index: int, name: bytes) -> None:
        """Give the full block at `index` of a table its name, if it is still held.

        Its slots must be written, and not be written again.
        """
        place = index - table.n_reclaimed
        if place >= 0:
            self._named.name(table.block_ids[place], name)

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
            block_id = self._free.pop() if self._free else self._named.evict()
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
        """Compare reference counts with the tables, the free list and the idle blocks.

        Raises: AssertionError naming the first disagreement.
        """
        held = Counter(block_id for table in self._tables for block_id in table.block_ids)
        for block_id, count in enumerate(self._ref_counts):
            if count != held[block_id]:
                raise AssertionError(
                    f"block {block_id} counts {count}, held {held[block_id]} times"
                )
        free, idle = set(self._free), self._named.idle
        if len(free) != len(self._free):
            raise AssertionError("a block is in the free list twice")
        if free & held.keys() or idle & held.keys():
            raise AssertionError(f"blocks {sorted((free | idle) & held.keys())} are free and held")
        if free & self._named.names.keys():
            raise AssertionError(
                f"blocks {sorted(free & self._named.names.keys())} are free and named"
            )
        if len(free) + len(idle) + len(held) != self.n_blocks:
            raise AssertionError(
                f"{len(free)} free + {len(idle)} idle + {len(held)} held ≠ {self.n_blocks} blocks"
            )
        self._named.check_integrity()

    def _release(self, block_ids: Sequence[int]) -> None:
        # Last block first: a table that is opened next gets free ones in order, and of a beginning
        # that is idle the end is evicted first.
        for block_id in reversed(block_ids):
            self._ref_counts[block_id] -= 1
            if self._ref_counts[block_id] > 0:
                continue
            if self._named.is_named(block_id):
                self._named.put_to_rest(block_id)
            else:
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
