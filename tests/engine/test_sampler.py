"""One row, one choice, whatever the neighbours are."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco.engine.sampler import Row, sample, uniform
from sirocco.types import SamplingParams

LOGITS = torch.tensor([1.0, 3.0, 2.0, -1.0, 2.5])


def row(*, seed=1, output=(), prompt=(0,), **sampling):
    params = SamplingParams(**({"temperature": 1.0} | sampling))
    return Row(params, seed, [*prompt, *output], len(prompt))


def choose(logits=LOGITS, **options):
    return sample(logits[None], [row(**options)])[0].token_id


def drawn(n=400, **options):
    """The tokens that `n` seeds draw."""
    rows = [row(seed=seed, **options) for seed in range(n)]
    return [choice.token_id for choice in sample(LOGITS.repeat(n, 1), rows)]


def test_temperature_zero_takes_the_likeliest():
    assert choose(temperature=0.0) == 1


def test_of_equal_logits_greedy_takes_the_first():
    assert choose(torch.tensor([0.0, 2.0, 2.0]), temperature=0.0) == 1


def test_top_k_keeps_the_k_likeliest():
    assert set(drawn(top_k=2)) == {1, 4}


def test_top_k_beyond_the_vocabulary_keeps_all():
    assert set(drawn(top_k=100)) == set(range(5))


def test_top_p_keeps_the_token_that_crosses_p():
    first, second = LOGITS.softmax(0)[[1, 4]].tolist()

    assert set(drawn(top_p=first - 0.01)) == {1}
    assert set(drawn(top_p=first + 0.01)) == {1, 4}
    assert set(drawn(top_p=first + second + 0.01)) == {1, 2, 4}


def test_min_p_drops_what_is_much_less_likely_than_the_likeliest():
    assert set(drawn(min_p=math.exp(-0.6))) == {1, 4}


def test_draws_follow_the_probabilities():
    """With 4000 draws each share is within 5 standard deviations (odds of chance: 3e-6)."""
    n = 4000
    tokens = drawn(n, temperature=1.3)

    for token_id, p in enumerate((LOGITS / 1.3).softmax(0).tolist()):
        assert abs(tokens.count(token_id) / n - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_the_same_seed_and_position_draw_the_same_and_others_do_not():
    again = [choose(seed=5, output=(2,) * n) for n in range(40)]

    assert again == [choose(seed=5, output=(2,) * n) for n in range(40)]
    assert again != [choose(seed=6, output=(2,) * n) for n in range(40)]


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits():
    logits = torch.tensor([2.0, 1.5, -1.0, -1.5])

    assert choose(logits, temperature=0.0, prompt=(0,), repetition_penalty=1.5) == 1
    bottom = torch.tensor([-9.0, -9.0, -1.0, -1.5])
    assert choose(bottom, temperature=0.0, prompt=(0,), output=(2,), repetition_penalty=1.6) == 3


def test_frequency_counts_and_presence_does_not_and_neither_looks_at_the_prompt():
    logits = torch.tensor([2.0, 1.5])

    assert choose(logits, temperature=0.0, prompt=(0, 0, 0), frequency_penalty=1.0) == 0
    assert choose(logits, temperature=0.0, output=(0,), presence_penalty=0.4) == 0
    assert choose(logits, temperature=0.0, output=(0, 0), presence_penalty=0.4) == 0
    assert choose(logits, temperature=0.0, output=(0, 0), frequency_penalty=0.4) == 1
    assert choose(logits, temperature=0.0, output=(0,), presence_penalty=0.6) == 1


def test_logit_bias_is_added():
    assert choose(temperature=0.0, logit_bias={3: 5.0}) == 3
    assert choose(temperature=0.0, logit_bias={1: -100.0}) == 4


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_choose_nothing_and_leave_the_neighbours_alone(bad):
    broken = LOGITS.clone()
    broken[2] = bad
    rows = [row(), row(temperature=0.0), row()]

    choices = sample(torch.stack([LOGITS, broken, LOGITS]), rows)

    assert [choice.token_id is None for choice in choices] == [False, True, False]


def test_logprobs_are_the_models_own_and_name_the_likeliest():
    (choice,) = sample(LOGITS[None], [row(temperature=0.0, logprobs=2, logit_bias={3: 50.0})])

    expected = LOGITS.log_softmax(0)
    assert choice.logprob is not None
    assert choice.logprob.token_id == 3
    assert choice.logprob.logprob == pytest.approx(expected[3].item())
    (first, first_logprob), (second, second_logprob) = choice.logprob.top
    assert (first, second) == (1, 4)
    assert first_logprob == pytest.approx(expected[1].item())
    assert second_logprob == pytest.approx(expected[4].item())


def test_the_logits_given_are_not_changed():
    logits = LOGITS[None].clone()

    sample(logits, [row(logit_bias={1: -5.0}, repetition_penalty=2.0, top_k=2)])

    assert torch.equal(logits, LOGITS[None])


samplings = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    top_k=st.integers(0, 60),
    top_p=st.floats(0.001, 1.0),
    min_p=st.floats(0.0, 1.0),
    repetition_penalty=st.floats(0.1, 3.0),
    frequency_penalty=st.floats(-2.0, 2.0),
    presence_penalty=st.floats(-2.0, 2.0),
    logit_bias=st.none() | st.dictionaries(st.integers(0, 49), st.floats(-100, 100), max_size=3),
    logprobs=st.none() | st.integers(0, 20),
)


@settings(max_examples=100, deadline=None)
@given(params=st.lists(samplings, min_size=1, max_size=6), seed=st.integers(0, 2**63 - 1))
def test_a_choice_does_not_depend_on_the_batch(params, seed):
    logits = torch.randn(len(params), 50, generator=torch.Generator().manual_seed(seed)) * 3
    rows = [Row(p, seed + i, [1, 2, 2, 7], 2) for i, p in enumerate(params)]

    together = sample(logits, rows)

    alone = [sample(logits[i : i + 1], rows[i : i + 1])[0] for i in range(len(rows))]
    assert [c.token_id for c in together] == [c.token_id for c in alone]
    assert all(c.token_id is not None for c in together)


@given(seed=st.integers(0, 2**63 - 1), position=st.integers(0, 200_000))
def test_random_numbers_lie_between_zero_and_one(seed, position):
    assert 0.0 <= uniform(seed, position) < 1.0


def test_random_numbers_are_spread_evenly():
    """10 000 numbers, 10 bins, χ² with 9 degrees of freedom: above 40 once in 100 000 times."""
    for seed in (0, 1, 2**40):
        bins = [0] * 10
        for position in range(10_000):
            bins[int(uniform(seed, position) * 10)] += 1
        assert sum((count - 1000) ** 2 / 1000 for count in bins) < 40


@pytest.mark.parametrize("options", [{"top_p": 0.99}, {"min_p": 1e-4}, {"top_k": 300}, {}])
def test_a_large_vocabulary_is_drawn_from_as_its_filters_say(options):
    """Against the plain way: sort all, filter, and count how often each token is drawn."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2000, generator=generator)
    probs, order = logits.double().softmax(0).sort(descending=True)
    if "top_k" in options:
        probs[300:] = 0
    kept = probs.cumsum(0) - probs < options.get("top_p", 1.0)
    kept &= probs >= options.get("min_p", 0.0) * probs[0]
    probs = torch.where(kept, probs, 0.0) / probs[kept].sum()

    rows = [row(temperature=1.0, seed=n, **options) for n in range(3000)]
    drawn = [choice.token_id for choice in sample(logits.expand(3000, -1), rows)]

    allowed = set(order[probs > 0].tolist())
    assert set(drawn) <= allowed
    head = set(order[:100].tolist())
    share = sum(token_id in head for token_id in drawn) / len(drawn)
    # The share of 3000 draws lies within 5 standard deviations but once in a million.
    assert share == pytest.approx(float(probs[:100].sum()), abs=5 * 0.5 / 3000**0.5)
