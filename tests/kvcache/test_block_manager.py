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


def test_a_shared_block_is_free_when_its_last_table_closes():
    blocks = BlockManager(n_blocks=4, block_size=4)
    table = blocks.open()
    blocks.grow(table, 8)
    twin = blocks.fork(table)

    blocks.close(table)
    assert blocks.n_free == 2
    blocks.close(twin)

    assert blocks.n_free == 4
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
    """Open, grow, fork, reclaim and close tables in any order."""

    tables = Bundle("tables")

    def __init__(self):
        super().__init__()
        self.blocks = BlockManager(n_blocks=12, block_size=4)

    @rule(target=tables)
    def open(self):
        return self.blocks.open()

    @rule(table=tables, n_positions=st.integers(0, 60))
    def grow(self, table, n_positions):
        if self.blocks.can_grow(table, n_positions):
            self.blocks.grow(table, n_positions)
            assert table.n_blocks_ever * 4 >= n_positions

    @rule(target=tables, table=tables)
    def fork(self, table):
        return self.blocks.fork(table)

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
