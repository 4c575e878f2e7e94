"""One row, one choice, whatever the neighbours are."""

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sirocco.engine.sampling.sampler import Row, sample, uniform
from sirocco.engine.sampling.token_counts import TokenCounts
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


def test_the_largest_numbers_are_numbers():
    """Their sum is infinite, which is no reason to refuse them."""
    huge = torch.full((300,), 3e38)
    huge[7] = 3.4e38

    assert choose(huge, temperature=0.0) == 7
    assert choose(huge, temperature=1.0) == 7


@pytest.mark.parametrize("temperature", [1e-3, 1e-6, 1e-30, 1e-45, 5e-324])
def test_next_to_no_temperature_is_greedy(temperature):
    assert set(drawn(n=50, temperature=temperature)) == {1}


def test_next_to_no_temperature_draws_among_the_likeliest_alone():
    logits = torch.tensor([1.0, 2.0, -1e30, 2.0])
    rows = [row(seed=seed, temperature=5e-324) for seed in range(100)]

    choices = sample(logits.repeat(100, 1), rows)

    assert {choice.token_id for choice in choices} == {1, 3}


def test_logprobs_are_ordered_by_probability_then_token_id():
    logits = torch.zeros(1000)
    logits[[900, 30, 500]] = 1.0

    (choice,) = sample(logits[None], [row(temperature=0.0, logprobs=6)])

    assert choice.logprob is not None
    assert [token_id for token_id, _ in choice.logprob.top] == [30, 500, 900, 0, 1, 2]


def test_each_row_gets_as_many_alternatives_as_it_asked_for():
    rows = [row(logprobs=n) for n in (0, None, 3, 1)]

    choices = sample(LOGITS.repeat(4, 1), rows)

    assert [c.logprob and len(c.logprob.top) for c in choices] == [0, None, 3, 1]


@pytest.mark.parametrize("penalty", [5e-324, 1e-30, 10.0])
def test_no_penalty_makes_a_number_infinite(penalty):
    logits = torch.tensor([3e38, -3e38, 0.0, 1.0])

    choice = choose(logits, prompt=(0, 1, 2), repetition_penalty=penalty, temperature=1.0)

    assert choice == 0


def test_kept_counts_choose_what_counting_anew_does():
    """Also where guesses follow the tokens that were counted, which changes nothing kept."""
    params = SamplingParams(
        temperature=0.0, repetition_penalty=1.4, frequency_penalty=0.3, presence_penalty=-0.2
    )
    logits = torch.randn(1, 60, generator=torch.Generator().manual_seed(3)).repeat(4, 1)
    prompt, output, guesses = [5, 9, 5], [7, 9, 7], [11, 7, 30]
    counts = TokenCounts([*prompt, *output], len(prompt))
    texts = [[*prompt, *output, *guesses[:n]] for n in range(4)]

    kept = sample(logits, [Row(params, 1, text, len(prompt), counts) for text in texts])

    assert kept == sample(logits, [Row(params, 1, text, len(prompt)) for text in texts])
    assert counts.n_tokens == len(prompt) + len(output)


# Rows that could disturb their neighbours, or be disturbed. Sizes are those where something
# changes: less than a run, not a whole number of runs, more than the likeliest that are tried.
VOCAB_SIZES = (5, 50, 259, 4608)
SCALES = (0.0, 1e-30, 0.3, 3.0, 30.0, 1e30, 1e38)
BAD = (math.nan, math.inf, -math.inf)
TEMPERATURES = (0.0, 5e-324, 1e-6, 1e-3, 0.3, 1.0, 5.0)


def penalties(low, high, none):
    return st.just(none) | st.sampled_from([low, high]) | st.floats(low, high)


hostile_samplings = st.builds(
    SamplingParams,
    temperature=st.sampled_from(TEMPERATURES),
    top_k=st.just(0) | st.integers(1, 300),
    top_p=st.just(1.0) | st.floats(0.001, 1.0) | st.just(5e-324),
    min_p=st.just(0.0) | st.floats(0.0, 1.0),
    repetition_penalty=penalties(5e-324, 10.0, 1.0),
    frequency_penalty=penalties(-2.0, 2.0, 0.0),
    presence_penalty=penalties(-2.0, 2.0, 0.0),
    logit_bias=st.none() | st.dictionaries(st.integers(0, 4), st.sampled_from([-100, 100, 0.5])),
    logprobs=st.none() | st.integers(0, 5),
)


@st.composite
def hostile_rows(draw, vocab_size):
    """One row of logits, and what its choice depends on."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    logits = torch.randn(vocab_size, generator=generator) * draw(st.sampled_from(SCALES))
    if draw(st.booleans()):
        logits = logits.clamp(-3, 3).round()  # many are equal
    if draw(st.integers(0, 4)) == 0:
        logits[draw(st.integers(0, vocab_size - 1))] = draw(st.sampled_from(BAD))
    token_ids = draw(st.lists(st.integers(0, vocab_size - 1), min_size=1, max_size=30))
    n_prompt_tokens = draw(st.integers(1, len(token_ids)))
    counts = TokenCounts(token_ids, n_prompt_tokens) if draw(st.booleans()) else None
    seed = draw(st.integers(0, 2**63 - 1))
    return logits, Row(draw(hostile_samplings), seed, token_ids, n_prompt_tokens, counts)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), vocab_size=st.sampled_from(VOCAB_SIZES))
def test_a_choice_has_the_same_bits_in_any_company(data, vocab_size):
    """Token and log-probabilities: alone, in a batch of hostile rows, and in another order."""
    batch = data.draw(st.lists(hostile_rows(vocab_size), min_size=2, max_size=33))
    logits, rows = torch.stack([of_one for of_one, _ in batch]), [row for _, row in batch]
    order = data.draw(st.permutations(range(len(batch))))
    before = logits.clone()

    together = sample(logits, rows)

    assert together == [sample(logits[i : i + 1], [row])[0] for i, row in enumerate(rows)]
    reordered = sample(logits[order], [rows[i] for i in order])
    assert reordered == [together[i] for i in order]
    finite = torch.isfinite(logits).all(dim=1).tolist()
    assert [choice.token_id is not None for choice in together] == finite
    assert torch.equal(logits.nan_to_num(), before.nan_to_num())


def test_a_choice_has_the_same_bits_in_any_company_of_a_whole_vocabulary():
    """32000 tokens, of each kind of request several, in one and in two threads."""
    kinds: list[dict[str, Any]] = [
        {}, {"top_p": 0.9}, {"top_p": 0.999, "min_p": 1e-4}, {"top_k": 50}, {"top_k": 3000},
        {"min_p": 0.1}, {"logprobs": 20, "temperature": 0.0}, {"repetition_penalty": 1.3},
        {"frequency_penalty": 0.5, "top_p": 0.5}, {"temperature": 1e-6},
    ]  # fmt: skip
    logits = torch.randn(40, 32_000, generator=torch.Generator().manual_seed(1)) * 2
    logits[11, 5] = math.nan
    rows = [row(seed=i, output=range(i), **kinds[i % len(kinds)]) for i in range(40)]

    together = sample(logits, rows)

    n_threads = torch.get_num_threads()
    for n in (1, 2):
        torch.set_num_threads(n)
        alone = [sample(logits[i : i + 1], [row])[0] for i, row in enumerate(rows)]
        assert torch.get_num_threads() == n
        assert alone == together
    torch.set_num_threads(n_threads)


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
