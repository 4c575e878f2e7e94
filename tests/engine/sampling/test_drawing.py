"""What is drawn has the probabilities that temperature and filters say, by the plain definition."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco.engine.sampling.drawing import draw
from sirocco.types import SamplingParams

N = 500
"""Numbers that are tried, evenly spaced: each token is drawn N × p times, give or take one."""


def expected_probs(logits, sampling):
    """Sort all, filter one after the other, the slow way."""
    probs = (logits.double() / sampling.temperature).softmax(0)
    probs, order = probs.sort(descending=True, stable=True)
    if sampling.top_k:
        probs[sampling.top_k :] = 0
        probs /= probs.sum()
    probs[probs.cumsum(0) - probs >= sampling.top_p] = 0
    probs[probs < sampling.min_p * probs[0]] = 0
    return torch.zeros(len(logits)).double().scatter(0, order, probs / probs.sum())


def drawn_shares(logits, sampling):
    numbers = [(n + 0.5) / N for n in range(N)]
    drawn = torch.tensor(draw(logits.repeat(N, 1), [sampling] * N, numbers))
    return torch.bincount(drawn, minlength=len(logits)).double() / N


@pytest.mark.parametrize("vocab_size", [3, 60, 64, 65, 500, 5000])
@pytest.mark.parametrize(
    "filters",
    [{}, {"top_k": 7}, {"top_k": 300}, {"top_p": 0.6}, {"top_p": 0.97}, {"min_p": 0.05},
     {"top_k": 40, "top_p": 0.9, "min_p": 0.02}, {"top_k": 200, "top_p": 0.5},
     {"top_p": 0.999, "min_p": 0.3}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("temperature", [0.4, 2.0])
def test_tokens_are_drawn_as_often_as_the_filters_say(vocab_size, filters, temperature):
    logits = torch.randn(vocab_size, generator=torch.Generator().manual_seed(vocab_size)) * 2
    sampling = SamplingParams(temperature=temperature, **filters)

    shares = drawn_shares(logits, sampling)

    expected = expected_probs(logits, sampling)
    assert (shares - expected).abs().max() <= 1.01 / N
    assert shares[expected == 0].sum() == 0


@pytest.mark.parametrize(
    ("filters", "n_stay"), [({"top_k": 3}, 3), ({"top_p": 0.015}, 2), ({"top_k": 90}, 90)], ids=str
)
def test_of_equal_tokens_the_first_stay(filters, n_stay):
    """Of 100; 90 are more than the few that are tried first."""
    shares = drawn_shares(torch.zeros(100), SamplingParams(temperature=1.0, **filters))

    assert shares.nonzero().flatten().tolist() == list(range(n_stay))


@pytest.mark.parametrize("filters", [{}, {"top_k": 50}, {"top_p": 0.9}, {"min_p": 0.5}], ids=str)
def test_what_is_masked_is_never_drawn(filters):
    """A mask may leave few tokens, fewer than the filters would keep."""
    logits = torch.full((700,), -math.inf)
    logits[[3, 650]] = torch.tensor([0.0, 0.5])

    shares = drawn_shares(logits, SamplingParams(temperature=1.0, **filters))

    assert set(shares.nonzero().flatten().tolist()) == {3, 650}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    number=st.sampled_from([0.0, 2**-53, 0.5, 1 - 2**-53]),
    scale=st.sampled_from([0.0, 1.0, 5e37]),
    sampling=st.builds(
        SamplingParams,
        temperature=st.sampled_from([5e-324, 1e-6, 1.0, 5.0]),
        top_k=st.integers(0, 10**30),
        top_p=st.sampled_from([5e-324, 0.5, 1 - 2**-53, 1.0]),
        min_p=st.sampled_from([0.0, 5e-324, 0.5, 1.0]),
    ),
)
def test_at_every_limit_a_token_that_has_a_probability_is_drawn(seed, number, scale, sampling):
    logits = torch.randn(200, generator=torch.Generator().manual_seed(seed)) * scale

    (token_id,) = draw(logits[None].clone(), [sampling], [number])

    gap = (logits.double().max() - logits[token_id].double()) / sampling.temperature
    assert gap < 110, "float32 has no probability so small"
