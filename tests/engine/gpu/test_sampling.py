"""Choosing on the device, beside the sampler of the host."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco.engine.gpu.sampling import (
    NOTHING,
    Adjustments,
    Kind,
    Sampling,
    adjusted,
    choose_tokens,
    uniforms,
)
from sirocco.engine.sampling.penalties import add_bias, penalise
from sirocco.engine.sampling.sampler import Row, sample, uniform
from sirocco.engine.sampling.token_counts import TokenCounts
from sirocco.types import SamplingParams

VOCABULARY = 700


@given(seed=st.integers(0, 2**63 - 1), position=st.integers(0, 2**20))
def test_random_numbers_are_those_of_the_host(seed, position):
    assert uniforms(torch.tensor([seed]), torch.tensor([position])).tolist() == [
        uniform(seed, position)
    ]


@pytest.mark.parametrize(
    ("kind", "samplings"),
    [
        (Kind.GREEDY, [{"temperature": 0.0}]),
        (Kind.DRAWN, [{"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 1e-9},
                      {"temperature": 1.0, "min_p": 0.1}]),
        (Kind.ORDERED, [{"temperature": 0.0}, {"temperature": 1.0}, {"top_k": 1}, {"top_k": 100},
                        {"top_p": 0.5}, {"top_p": 0.99, "temperature": 3.0},
                        {"top_k": 300, "top_p": 0.9, "min_p": 0.01}]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_tokens_are_those_of_the_host(kind, samplings, spread):
    params = [SamplingParams(**{"temperature": 1.0, **s}) for s in samplings for _ in range(20)]
    generator = torch.Generator().manual_seed(int(10 * spread))
    logits = spread * torch.randn(len(params), VOCABULARY, generator=generator)
    rows = [Row(p, 1000 + i, [1] * (i % 7), 0) for i, p in enumerate(params)]
    expected = [choice.token_id for choice in sample(logits, rows)]

    sampling = Sampling(
        torch.tensor([row.seed for row in rows]),
        torch.tensor([p.temperature for p in params]),
        torch.tensor([[p.top_k or VOCABULARY, p.top_p, p.min_p] for p in params]).double(),
    )
    sampling.limits[:, 1] = torch.tensor([p.top_p for p in params], dtype=torch.float64)
    sampling.limits[:, 2] = torch.tensor([p.min_p for p in params], dtype=torch.float64)
    positions = torch.tensor([len(row.token_ids) for row in rows])
    actual = choose_tokens(logits, sampling, positions, kind)

    assert actual.tolist() == expected


@settings(deadline=None)
@given(
    repetition=st.sampled_from([1.0, 0.5, 1.3, 2.0]),
    frequency=st.sampled_from([0.0, -2.0, 0.7]),
    presence=st.sampled_from([0.0, 1.1]),
    biases=st.dictionaries(st.integers(0, 19), st.floats(-100, 100), max_size=4),
    token_ids=st.lists(st.integers(0, 19), min_size=1, max_size=30),
    n_prompt_tokens=st.integers(0, 30),
    large=st.booleans(),
)
def test_adjusted_logits_have_the_bits_of_the_host(
    *, repetition, frequency, presence, biases, token_ids, n_prompt_tokens, large
):
    sampling = SamplingParams(repetition_penalty=repetition, frequency_penalty=frequency,
                              presence_penalty=presence, logit_bias=biases or None)  # fmt: skip
    counts = TokenCounts(token_ids, min(n_prompt_tokens, len(token_ids)))
    generator = torch.Generator().manual_seed(len(token_ids))
    logits = (2 * torch.rand(1, 20, generator=generator) - 1) * (3.4e38 if large else 4.0)
    expected = logits.clone()
    penalise(expected, [0], [sampling], [counts])
    if biases:
        add_bias(expected, [0], [biases])

    n_times, is_there, bias = (
        torch.zeros(20).int(),
        torch.zeros(20).bool(),
        torch.zeros(20).double(),
    )
    n_times[counts.ids] = torch.from_numpy(counts.n_in_output).int()
    is_there[counts.ids] = True
    for token_id, value in biases.items():
        bias[token_id] = value
    penalties = torch.tensor([[repetition, frequency, presence]], dtype=torch.float64)
    actual = adjusted(logits, Adjustments(penalties, n_times[None], is_there[None], bias[None]))

    assert torch.equal(actual, expected)


@pytest.mark.parametrize("kind", Kind)
def test_a_row_that_is_not_finite_chooses_nothing(kind):
    logits = torch.zeros(3, VOCABULARY)
    logits[1, 5] = torch.nan
    logits[2, 5] = torch.inf
    ones = torch.ones(3)
    sampling = Sampling(torch.zeros(3).long(), ones, torch.stack([ones] * 3, dim=1).double())

    chosen = choose_tokens(logits, sampling, torch.zeros(3).long(), kind)

    assert chosen[1:].tolist() == [NOTHING, NOTHING]
    assert chosen[0] >= 0
