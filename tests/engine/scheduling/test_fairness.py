"""Who is next, and how a budget is shared: with numbers alone, then with a scheduler."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirocco.engine.scheduling.fairness import ServiceCounters, split_fairly, split_shortest_first
from sirocco.engine.scheduling.scheduler import Scheduler
from sirocco.engine.sequence import Sequence
from sirocco.kvcache.block_manager import BlockManager
from sirocco.types import FinishReason, SamplingParams


@pytest.mark.parametrize(
    ("total", "needs", "weights", "expected"),
    [
        (100, [10, 70, 200], None, [10, 45, 45]),
        (100, [10, 70, 200], [1, 1, 2], [10, 30, 60]),
        (100, [1, 2, 3], None, [1, 2, 3]),
        (0, [5, 5], None, [0, 0]),
        (3, [5, 5, 5], None, [1, 1, 1]),
        (10, [], None, []),
    ],
)
def test_who_needs_little_gets_it_and_the_others_the_same(total, needs, weights, expected):
    assert split_fairly(total, needs, weights) == expected


@given(
    st.integers(0, 1000), st.lists(st.tuples(st.integers(0, 500), st.floats(0.1, 9)), max_size=9)
)
def test_a_split_gives_no_more_than_there_is_and_than_is_needed(total, wishes):
    needs = [need for need, _ in wishes]

    shares = split_fairly(total, needs, [weight for _, weight in wishes])

    assert sum(shares) <= total
    assert all(0 <= share <= need for share, need in zip(shares, needs, strict=True))
    if wishes:  # what is left over is less than one for each
        assert sum(shares) > min(total, sum(needs)) - len(needs) - 1


def test_an_account_that_was_away_does_not_save_up():
    counters = ServiceCounters()
    counters.enter("busy")
    counters.charge("busy", 1000, 1.0)

    counters.enter("new")

    assert counters.served("new") == counters.served("busy") == 1000


def test_an_account_that_leaves_in_debt_comes_back_in_debt():
    counters = ServiceCounters()
    for name in ("greedy", "modest"):
        counters.enter(name)
    counters.charge("greedy", 1000, 1.0)
    counters.leave("greedy")

    counters.enter("greedy")

    assert counters.served("greedy") == 1000
    assert counters.served("modest") == 0


def test_accounts_without_debt_are_forgotten():
    counters = ServiceCounters()
    counters.enter("stays")
    for index in range(100):
        counters.enter(f"passes {index}")
        counters.charge("stays", 10, 1.0)
        counters.leave(f"passes {index}")

    assert set(counters._served) == {"stays"}


class Floods:
    """A scheduler whose accounts always have more to ask for."""

    def __init__(self, weights, *, n_backlog=20, n_prompt=8, n_output=8, **limits):
        options = {"window": None, "max_seq_len": 200, "max_step_tokens": 32, "max_running": 4}
        self.scheduler = Scheduler(BlockManager(200, 4), **(options | limits))
        self.weights, self.n_backlog = weights, n_backlog
        self.n_prompt, self.n_output = n_prompt, n_output
        self.served = dict.fromkeys(weights, 0)
        self.n_seqs = 0

    def add(self, account, n_prompt=None):
        n_prompt = n_prompt or self.n_prompt
        self.n_seqs += 1
        seq = Sequence(
            f"{account}{self.n_seqs}", [self.n_seqs] * n_prompt, n_prompt, SamplingParams(),
            self.n_output, seed=0, account=account, weight=self.weights[account],
        )  # fmt: skip
        self.scheduler.add(seq)
        return seq

    def step(self):
        for account in self.weights:
            n_waiting = sum(seq.account == account for seq in self.scheduler.waiting)
            for _ in range(self.n_backlog - n_waiting):
                self.add(account)
        plan = self.scheduler.schedule()
        for chunk in plan.sampling:
            self.served[chunk.seq.account] += 1
        self.scheduler.apply(plan, [[7]] * len(plan.sampling))
        self.scheduler.check_integrity()
        return plan


def test_two_accounts_that_always_want_more_are_served_the_same():
    """Sheng 2024 §4.3: the gap stays within a bound that does not grow with time."""
    floods = Floods({"a": 1.0, "b": 1.0})
    gaps = []
    for _ in range(600):
        floods.step()
        gaps.append(abs(floods.served["a"] - floods.served["b"]))

    assert floods.served["a"] > 500
    assert max(gaps) <= 4 * (8 + 8)


def test_twice_the_weight_is_served_twice_as_much():
    floods = Floods({"light": 1.0, "heavy": 2.0}, max_running=6)
    for _ in range(600):
        floods.step()

    assert floods.served["heavy"] / floods.served["light"] == pytest.approx(2.0, rel=0.15)


def test_a_newcomer_does_not_wait_until_a_flood_is_over():
    """The flood holds every place with long answers; one of them makes room."""
    floods = Floods({"flood": 1.0}, n_output=100)
    for _ in range(5):
        floods.step()
    floods.weights["guest"] = 1.0
    guest = floods.add("guest")

    n_steps = 0
    while guest.n_output_tokens == 0:
        plan = floods.scheduler.schedule()
        floods.scheduler.apply(plan, [[7]] * len(plan.sampling))
        n_steps += 1

    assert n_steps <= 3
    assert len(floods.scheduler.running) == 4


def test_a_guest_whose_turn_it_is_not_takes_nobodys_place():
    floods = Floods({"flood": 1.0}, n_output=100)
    floods.step()
    floods.weights["greedy"] = 1.0
    floods.scheduler.counters.enter("greedy")
    floods.scheduler.counters.charge("greedy", 10_000, 1.0)
    running = list(floods.scheduler.running)
    floods.add("greedy")

    for _ in range(5):
        plan = floods.scheduler.schedule()
        floods.scheduler.apply(plan, [[7]] * len(plan.sampling))

    assert floods.scheduler.running == running


def tokens_of(plan):
    return {chunk.seq.request_id: chunk.n_tokens for chunk in plan.chunks}


def test_a_crowd_pauses_for_the_prompt_of_a_guest_and_goes_on():
    floods = Floods({"flood": 1.0, "guest": 1.0}, n_prompt=60, max_step_tokens=36)
    for _ in range(3):
        floods.add("flood")
    floods.add("guest", n_prompt=17)

    steps = []
    for _ in range(2):
        plan = floods.scheduler.schedule()
        floods.scheduler.apply(plan, [[7]] * len(plan.sampling))
        steps.append(tokens_of(plan))

    assert steps == [{"guest4": 17}, {"guest4": 1, "flood1": 33, "flood2": 1, "flood3": 1}]


def test_nobody_pauses_in_two_steps_one_after_the_other():
    """A guest's long prompt has every second step to itself, and its share of the others."""
    floods = Floods({"flood": 1.0, "guest": 1.0}, n_output=50, max_step_tokens=16)
    for _ in range(3):
        floods.add("flood")
    for _ in range(4):
        plan = floods.scheduler.schedule()
        floods.scheduler.apply(plan, [[7]] * len(plan.sampling))
    guest = floods.add("guest", n_prompt=100)

    decoding = []
    while not guest.n_output_tokens:
        plan = floods.scheduler.schedule()
        floods.scheduler.apply(plan, [[7]] * len(plan.sampling))
        decoding.append(sum(chunk.seq.account == "flood" for chunk in plan.chunks))

    assert decoding == [0, 3, 0, 3, 0, 3, 0]


@pytest.mark.parametrize(("n_guests", "charged"), [(3, 0), (1, 10_000)])
def test_nobody_pauses_for_as_large_a_crowd_nor_for_who_was_served_more(n_guests, charged):
    floods = Floods({"flood": 1.0, "guest": 1.0}, n_output=50, max_running=8)
    for _ in range(3):
        floods.add("flood")
    floods.scheduler.counters.enter("guest")
    floods.scheduler.counters.charge("guest", charged, 1.0)
    for _ in range(n_guests):
        floods.add("guest")

    plan = floods.scheduler.schedule()

    assert len(plan.chunks) == 3 + n_guests


def test_a_second_answer_of_a_guest_gets_the_place_of_a_crowd_too():
    floods = Floods({"flood": 1.0}, n_output=100)
    for _ in range(5):
        floods.step()
    floods.weights["guest"] = 1.0
    guests = [floods.add("guest") for _ in range(3)]

    for _ in range(6):
        plan = floods.scheduler.schedule()
        floods.scheduler.apply(plan, [[7]] * len(plan.sampling))

    running = [seq.account for seq in floods.scheduler.running]
    assert sorted(running) == ["flood", "flood", "guest", "guest"]
    assert guests[2].table is None  # half of the places each: nobody gives way any more


def test_of_equal_prompts_the_first_is_finished_first():
    """Side by side all three would begin in the sixth step."""
    floods = Floods({"a": 1.0}, n_prompt=60, max_step_tokens=32)
    seqs = [floods.add("a") for _ in range(3)]
    begun_in = {}
    for step in range(1, 8):
        plan = floods.scheduler.schedule()
        floods.scheduler.apply(plan, [[7]] * len(plan.sampling))
        for seq in seqs:
            if seq.n_output_tokens and seq not in begun_in:
                begun_in[seq] = step

    assert list(begun_in.values()) == [2, 4, 6]


@given(st.integers(0, 1000), st.lists(st.integers(0, 500), max_size=9))
def test_the_shortest_are_served_first_and_nothing_is_left_over(total, needs):
    shares = split_shortest_first(total, needs)

    assert sum(shares) == min(total, sum(needs))
    assert all(0 <= share <= need for share, need in zip(shares, needs, strict=True))
    if needs:
        assert shares[0] >= min(needs[0], total // 4)


def test_an_account_that_only_computes_its_prompts_again_is_not_charged_again():
    floods = Floods({"a": 1.0}, max_running=1)
    seq = floods.add("a", n_prompt=20)
    plan = floods.scheduler.schedule()
    floods.scheduler.apply(plan, [[7]] * len(plan.sampling))
    before = floods.scheduler.counters.served("a")

    floods.scheduler._preempt(seq, {})
    floods.scheduler.schedule()

    assert floods.scheduler.counters.served("a") == before
    floods.scheduler.finish(seq, FinishReason.ABORT)
