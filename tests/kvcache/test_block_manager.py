"""Accounting of blocks, by worked examples and by random walks."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from sirocco.kvcache.block_manager import BlockManager, blocks_for, window_blocks


def test_a_table_grows_by_whole_blocks():
    blocks = BlockManager(n_blocks=4, block_size=4)
    table = blocks.open()

    blocks.grow(table, 5)

    assert table.block_ids == [0, 1]
    assert blocks.n_free == 2


def test_lack_of_room_is_an_answer():
    blocks = BlockManager(n_blocks=2, block_size=4)
    table = blocks.open()

    assert blocks.can_grow(table, 8)
    assert not blocks.can_grow(table, 9)
    assert blocks.n_free == 2


def test_only_blocks_wholly_behind_are_reclaimed():
    blocks = BlockManager(n_blocks=4, block_size=4)
    table = blocks.open()
    blocks.grow(table, 12)

    blocks.reclaim(table, 7)

    assert (table.n_reclaimed, table.block_ids) == (1, [1, 2])
    blocks.reclaim(table, 3)  # going back changes nothing
    assert (table.n_reclaimed, blocks.n_free) == (1, 2)


def test_a_reclaimed_prefix_counts_as_covered():
    blocks = BlockManager(n_blocks=4, block_size=4)
    table = blocks.open()
    blocks.grow(table, 8)
    blocks.reclaim(table, 8)

    blocks.grow(table, 9)

    assert (table.n_reclaimed, len(table.block_ids)) == (2, 1)


def full_table(blocks, names):
    """Open a table whose blocks are full and have these names."""
    table = blocks.open()
    blocks.grow(table, len(names) * blocks.block_size)
    for index, name in enumerate(names):
        blocks.name(table, index, name)
    return table


def test_what_a_closed_table_held_is_found_by_name():
    blocks = BlockManager(n_blocks=4, block_size=4)
    blocks.close(full_table(blocks, [b"a", b"b"]))

    prefix = blocks.find_prefix([b"a", b"b", b"c"], None)

    assert (prefix.n_blocks, prefix.block_ids) == (2, (0, 1))
    assert (blocks.n_free, blocks.n_idle, blocks.n_idle_of(prefix)) == (4, 2, 2)


def test_two_tables_hold_the_blocks_of_a_common_beginning_together():
    blocks = BlockManager(n_blocks=4, block_size=4)
    first = full_table(blocks, [b"a", b"b"])

    second = blocks.open(blocks.find_prefix([b"a", b"b"], None))
    blocks.grow(second, 9)

    assert second.block_ids == [*first.block_ids, 2]
    blocks.close(first)
    assert (blocks.n_free, blocks.n_idle) == (1, 0)
    blocks.close(second)
    assert (blocks.n_free, blocks.n_idle) == (4, 2)
    blocks.check_integrity()


def test_the_block_that_was_idle_longest_is_evicted_first_and_of_a_beginning_its_end():
    blocks = BlockManager(n_blocks=4, block_size=4)
    blocks.close(full_table(blocks, [b"a", b"b"]))
    blocks.close(full_table(blocks, [b"x", b"y"]))

    blocks.grow(blocks.open(), 4)

    assert blocks.find_prefix([b"a", b"b"], None).n_blocks == 1
    assert blocks.find_prefix([b"x", b"y"], None).n_blocks == 2
    blocks.check_integrity()


def test_free_blocks_are_taken_before_idle_ones():
    blocks = BlockManager(n_blocks=4, block_size=4)
    blocks.close(full_table(blocks, [b"a", b"b"]))

    blocks.grow(blocks.open(), 8)

    assert blocks.find_prefix([b"a", b"b"], None).n_blocks == 2


def test_without_a_window_a_beginning_needs_all_its_blocks():
    blocks = BlockManager(n_blocks=4, block_size=4)
    table = full_table(blocks, [b"a", b"b", b"c"])
    blocks.reclaim(table, 8)  # a and b are idle
    blocks.grow(blocks.open(), 8)  # the last free one, and b

    assert blocks.find_prefix([b"a", b"b", b"c"], None).n_blocks == 1


def test_with_a_window_only_the_blocks_in_it_are_needed():
    """Position 12 sees 7 … 12 with window 6: blocks 1 and 2, and not block 0."""
    blocks = BlockManager(n_blocks=3, block_size=4)
    table = full_table(blocks, [b"a", b"b", b"c"])
    blocks.reclaim(table, 4)
    blocks.grow(blocks.open(), 4)  # evicts a

    prefix = blocks.find_prefix([b"a", b"b", b"c"], window=6)

    assert (prefix.n_blocks, prefix.block_ids) == (3, (1, 2))
    twin = blocks.open(prefix)
    assert (twin.n_reclaimed, twin.block_ids) == (1, [1, 2])
    assert blocks.find_prefix([b"a", b"b", b"c"], window=10).n_blocks == 0


def test_the_first_block_of_a_name_keeps_it():
    blocks = BlockManager(n_blocks=2, block_size=4)
    first, second = (full_table(blocks, [b"a"]) for _ in range(2))

    blocks.close(second)
    assert (blocks.n_free, blocks.n_idle) == (1, 0)
    blocks.close(first)

    assert blocks.find_prefix([b"a"], None).block_ids == (0,)
    blocks.check_integrity()


def test_integrity_names_a_leaked_block():
    blocks = BlockManager(n_blocks=2, block_size=4)
    table = blocks.open()
    blocks.grow(table, 4)
    table.block_ids.clear()

    with pytest.raises(AssertionError, match="block 0 counts 1, held 0 times"):
        blocks.check_integrity()


@pytest.mark.parametrize("window", range(1, 20))
@pytest.mark.parametrize("block_size", [1, 3, 4, 16])
def test_window_blocks_is_the_most_that_a_window_touches(window, block_size):
    touched = [(start + window - 1) // block_size - start // block_size + 1 for start in range(50)]

    assert window_blocks(window, block_size) == max(touched)
    assert window_blocks(window, block_size) <= blocks_for(window, block_size) + 1


class BlockWalk(RuleBasedStateMachine):
    """Open, share, grow, name, reclaim and close tables in any order.

    Each table stands for a text whose n-th block is called after its kind and n, so that tables of
    a kind share their beginning, as prompts do.
    """

    tables = Bundle("tables")

    def __init__(self):
        super().__init__()
        self.blocks = BlockManager(n_blocks=12, block_size=4)
        self.kinds = {}

    @rule(
        target=tables, kind=st.integers(0, 2), n_wanted=st.integers(0, 8),
        window=st.none() | st.integers(1, 12),
    )  # fmt: skip
    def open(self, kind, n_wanted, window):
        names = [b"%d %d" % (kind, index) for index in range(n_wanted)]
        prefix = self.blocks.find_prefix(names, window)
        assert prefix.n_blocks <= n_wanted
        if window is None:
            assert len(prefix.block_ids) == prefix.n_blocks
        table = self.blocks.open(prefix)
        self.kinds[table] = kind
        return table

    @rule(table=tables, n_positions=st.integers(0, 60))
    def grow(self, table, n_positions):
        if self.blocks.can_grow(table, n_positions):
            self.blocks.grow(table, n_positions)
            assert table.n_blocks_ever * 4 >= n_positions

    @rule(table=tables)
    def name(self, table):
        for index in range(table.n_blocks_ever):
            self.blocks.name(table, index, b"%d %d" % (self.kinds[table], index))

    @rule(table=tables, first_position=st.integers(0, 60))
    def reclaim(self, table, first_position):
        self.blocks.reclaim(table, first_position)

    @rule(table=consumes(tables))
    def close(self, table):
        self.blocks.close(table)

    @invariant()
    def counts_match_the_tables(self):
        self.blocks.check_integrity()

    def teardown(self):
        for table in self.blocks.tables:
            self.blocks.close(table)
        assert self.blocks.n_free == self.blocks.n_blocks


BlockWalk.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestBlockWalk = BlockWalk.TestCase
