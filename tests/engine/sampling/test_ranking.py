"""The likeliest tokens, exactly, whatever the vocabulary's size; of equal ones the first."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco.engine.sampling.ranking import in_order, likeliest, top


@settings(max_examples=80, deadline=None)
@given(
    vocab_size=st.integers(1, 3000),
    seed=st.integers(0, 2**32),
    n=st.integers(1, 60),
    n_different=st.sampled_from([1, 2, 5, 10**6]),
)
def test_top_and_likeliest_equal_a_stable_sort(vocab_size, seed, n, n_different):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-n_different, n_different, (3, vocab_size), generator=generator) / 7

    values, ids = top(scores, n)

    ordered, order = scores.sort(dim=1, descending=True, stable=True)
    assert ids.tolist() == order[:, :n].tolist()
    assert values.tolist() == ordered[:, :n].tolist()
    assert likeliest(scores).tolist() == order[:, 0].tolist()
    assert in_order(scores).tolist() == ordered.tolist()


@pytest.mark.parametrize("vocab_size", [6, 600, 60_000])
def test_zeros_of_both_signs_are_equal_and_infinities_have_their_place(vocab_size):
    scores = torch.full((1, vocab_size), -math.inf)
    scores[0, :5] = torch.tensor([-0.0, 0.0, -math.inf, 1e-45, -1e-45])

    assert top(scores, 5)[1].tolist() == [[3, 0, 1, 4, 2]]
    assert likeliest(scores).tolist() == [3]


def test_the_last_of_many_equal_tokens_is_not_first():
    """With 32000 equal tokens every run has the same maximum."""
    scores = torch.zeros(2, 32_000)

    assert top(scores, 40)[1].tolist() == [list(range(40))] * 2
    assert likeliest(scores).tolist() == [0, 0]
