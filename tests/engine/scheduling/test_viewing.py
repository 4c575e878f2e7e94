"""The blocks that a look shows are those of the scheduler's books."""

from sirocco.engine.request import Request
from sirocco.types import SamplingParams

PROMPT = [5 + i for i in range(30)]


def asked(name, prompt=PROMPT, *, n=1, max_tokens=40, account=""):
    sampling = SamplingParams(max_tokens=max_tokens, temperature=0.0, ignore_eos=True, n=n)
    return Request(name, prompt, sampling, account=account)


def only(engine, name):
    (seq,) = engine.view_blocks(name).sequences
    return seq


def test_an_unknown_request_has_no_answers(make_engine):
    view = make_engine().view_blocks("x")

    assert view.sequences == ()
    assert (view.pool.n_free, view.pool.n_idle, view.pool.n_held) == (64, 0, 0)


def test_a_waiting_one_holds_nothing(make_engine):
    engine = make_engine()
    engine.add(asked("a"))

    seq = only(engine, "a")

    assert (seq.is_running, seq.n_tokens, seq.n_computed, seq.block_ids) == (False, 30, 0, ())


def test_blocks_behind_the_window_were_given_back(make_engine):
    """Window 16, blocks of 4. After the prompt of 30 the next position, 30, sees 15 … 30."""
    engine = make_engine()
    engine.add(asked("a"))
    engine.step()

    seq = only(engine, "a")

    assert (seq.is_running, seq.n_computed, seq.n_tokens) == (True, 30, 31)
    assert (seq.n_reclaimed, len(seq.block_ids)) == (3, 5)
    assert set(seq.n_sharers) == {1}


def test_a_view_is_the_block_table_at_every_step(make_engine):
    engine = make_engine()
    engine.add(asked("a"))
    while engine.has_work:
        engine.step()
        for seq in engine.scheduler.running:
            view = only(engine, "a")
            assert list(view.block_ids) == seq.table.block_ids
            assert view.n_computed == seq.n_computed
            n_slots = (view.n_reclaimed + len(view.block_ids)) * 4
            assert n_slots - 4 < view.n_computed <= n_slots
        pool = engine.view_blocks("a").pool
        assert pool.n_free + pool.n_idle + pool.n_held == pool.n_blocks == 64
        assert pool.n_held == sum(len(s.block_ids) for s in engine.view_blocks("a").sequences)


def test_blocks_of_a_beginning_that_was_cached_are_told(make_engine):
    engine = make_engine()
    engine.add(asked("a", max_tokens=1))
    while engine.has_work:
        engine.step()
    assert engine.view_blocks("a").pool.n_idle > 0

    engine.add(asked("b", max_tokens=4))
    engine.step()

    assert only(engine, "b").n_found == 7  # 29 tokens of 30 at most: seven full blocks


def test_answers_to_one_prompt_share_its_blocks(make_engine):
    engine = make_engine()
    engine.add(asked("a", n=3))
    engine.step()
    engine.step()

    seqs = engine.view_blocks("a").sequences

    assert [seq.index for seq in seqs] == [0, 1, 2]
    assert [seq.n_found for seq in seqs] == [0, 7, 7]
    assert 3 in seqs[1].n_sharers
