"""Choosing on the device, beside the sampler of the host."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sirocco.engine.gpu.sampling import NOTHING, Kind, Sampling, choose_tokens, uniforms
from sirocco.engine.sampling.sampler import Row, sample, uniform
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
