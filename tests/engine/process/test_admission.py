"""The places of an engine: never more than there are, and no account keeps the others out."""

import copy
import math
from collections import Counter
from contextlib import suppress
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sirocco.engine.process.admission import Admission, Pace
from sirocco.errors import OutOfCapacity

N_PLACES = 5


class AdmissionMachine(RuleBasedStateMachine):
    """Compares with the rule written out over plain lists."""

    def __init__(self):
        super().__init__()
        self.admission = Admission(N_PLACES)
        self.n_places = N_PLACES
        self.live: dict[str, str] = {}  # request id → account, oldest first
        self.started: set[str] = set()
        self.expected: dict[str, str] = {}
        self.n_asked = 0

    def n_live(self, account):
        return sum(owner == account for owner in self.live.values())

    def unstarted(self, account):
        return [r for r, owner in self.live.items() if owner == account and r not in self.started]

    def new_request_id(self):
        self.n_asked += 1
        return f"r{self.n_asked}"

    @rule(account=st.sampled_from("abc"))
    def expect(self, account):
        request_id = self.new_request_id()
        ahead = [r for r, owner in self.expected.items() if owner == account]
        later = copy.deepcopy(self.admission)
        for one in ahead:
            with suppress(OutOfCapacity):
                later.admit(one, account)
        try:
            self.admission.expect(request_id, account)
        except OutOfCapacity:
            with pytest.raises(OutOfCapacity):
                later.admit(request_id, account)
        else:
            self.expected[request_id] = account
            if len(self.live) + len(ahead) < self.n_places or not ahead:
                later.admit(request_id, account)

    @rule(n_places=st.integers(1, N_PLACES))
    def resize(self, n_places):
        self.admission.resize(n_places)
        self.n_places = n_places

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def forget(self, data):
        request_id = data.draw(st.sampled_from(sorted(self.expected)))
        self.admission.forget(request_id)
        self.admission.forget(request_id)
        del self.expected[request_id]

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def admit_expected(self, data):
        request_id = data.draw(st.sampled_from(sorted(self.expected)))
        self.admit_as(request_id, self.expected.pop(request_id))

    @rule(account=st.sampled_from("abc"))
    def admit(self, account):
        self.admit_as(self.new_request_id(), account)

    def admit_as(self, request_id, account):
        was_full = len(self.live) >= self.n_places
        before = Counter(self.live.values())
        try:
            pushed_out = self.admission.admit(request_id, account)
        except OutOfCapacity:
            assert was_full
            assert all(
                before[other] <= before[account] + 1 for other in before if self.unstarted(other)
            )
            return
        assert (pushed_out is not None) == was_full
        if pushed_out is not None:
            victim = self.live[pushed_out]
            assert pushed_out == self.unstarted(victim)[-1]
            assert all(before[o] <= before[victim] for o in before if self.unstarted(o))
            del self.live[pushed_out]
            assert self.n_live(victim) >= before[account] + 1
        self.live[request_id] = account

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def begin(self, data):
        request_id = data.draw(st.sampled_from(sorted(self.live)))
        self.admission.began(request_id)
        self.started.add(request_id)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def end(self, data):
        request_id = data.draw(st.sampled_from(sorted(self.live)))
        self.admission.ended(request_id)
        self.admission.ended(request_id)
        del self.live[request_id]

    @invariant()
    def counts_agree(self):
        assert self.admission.n_live == len(self.live) <= N_PLACES
        assert self.admission._n_expected == Counter(self.expected.values())
        assert self.admission.n_unstarted == sum(r not in self.started for r in self.live)


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_flood_leaves_room_for_each_newcomer():
    admission = Admission(8)
    for i in range(8):
        admission.admit(f"flood{i}", "flood")

    pushed_out = [admission.admit(f"{name}{i}", name) for i in range(2) for name in "ab"]

    assert pushed_out == ["flood7", "flood6", "flood5", "flood4"]


def test_two_accounts_do_not_push_each_other_out_in_turns():
    admission = Admission(3)
    for request_id, account in [("a1", "a"), ("a2", "a"), ("b1", "b")]:
        admission.admit(request_id, account)

    for account in "ab":
        with pytest.raises(OutOfCapacity):
            admission.admit("more", account)


def test_an_answer_that_has_begun_keeps_its_place():
    admission = Admission(3)
    for i in range(3):
        admission.admit(f"flood{i}", "flood")
        admission.began(f"flood{i}")

    with pytest.raises(OutOfCapacity):
        admission.admit("a", "a")


def pace_of(ends_s, *, is_full=True):
    pace = Pace()
    for end_s in ends_s:
        pace.ended(end_s, is_full=is_full)
    return pace


@pytest.mark.parametrize(
    ("ends_s", "n_ahead", "now_s", "expected"),
    [
        ([], 5, 100.0, 1),
        ([90.0, 92.0, 94.0, 96.0, 98.0], 5, 100.0, 10),
        ([100.0] * 64, 5, 100.0, 1),
        ([100.0, 101.0], 300, 101.0, 60),
        ([100.0], 300, 101.0, 1),
        ([10.0, 20.0], 5, 100.0, 1),
    ],
    ids=["nothing known", "steady", "all at once", "capped", "one end says nothing", "long ago"],
)
def test_a_retry_is_due_when_those_ahead_will_have_ended(ends_s, n_ahead, now_s, expected):
    assert pace_of(ends_s).retry_after_s(n_ahead, now_s) == expected


def test_ends_say_nothing_of_the_pace_when_nothing_waited():
    assert pace_of([0.0, 20.0, 40.0], is_full=False).n_within(60.0, 40.0) == math.inf


def test_the_pace_is_that_of_the_last_answers_while_something_waited():
    pace = pace_of([0.0, 5.0, 10.0])
    pace.ended(15.0, is_full=False)  # nothing waits, and for a while little is asked
    pace.ended(45.0, is_full=True)
    pace.ended(46.0, is_full=True)

    assert pace.per_answer_s(46.0) == pytest.approx((5 + 5 + 5 + 1) / 4)
    assert pace.n_within(8.0, 46.0) == pytest.approx(2.0)
    assert pace.per_answer_s(90.0) == pytest.approx(1.0)  # those of the last minute
    assert pace.per_answer_s(107.0) is None


@given(gaps_s=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=200))
def test_a_pace_that_was_long_measured_is_the_mean_of_the_last_64(gaps_s):
    ends_s = list(accumulate(gaps_s, initial=0.0))
    pace = pace_of(ends_s)
    kept = [gap for gap, end in zip(gaps_s, ends_s[1:], strict=True) if ends_s[-1] - end <= 60][
        -64:
    ]

    assert pace.per_answer_s(ends_s[-1]) == pytest.approx(sum(kept) / len(kept), abs=1e-9)


def test_room_is_looked_for_without_taking_it():
    admission = Admission(2)
    admission.admit("a1", "a")
    admission.admit("a2", "a")

    with pytest.raises(OutOfCapacity):
        admission.check_room("a")
    admission.check_room("b")  # a2 would make room

    assert admission.n_live == 2
    assert admission.admit("b1", "b") == "a2"


def test_a_crowd_that_comes_for_one_free_place_is_not_read_as_a_whole():
    admission = Admission(3)
    for i in range(2):
        admission.admit(f"a{i}", "a")
    admission.expect("a2", "a")

    with pytest.raises(OutOfCapacity):
        admission.expect("a3", "a")
    admission.expect("b0", "b")  # another account's: whose turn it will be is not known yet

    admission.forget("a2")  # it was no good
    admission.expect("a4", "a")
    assert admission.n_live == 2
