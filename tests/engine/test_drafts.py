"""Guesses change how fast an answer comes, and nothing else."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirocco.engine.config import EngineConfig
from sirocco.engine.drafts import PromptLookup
from sirocco.engine.engine import Engine
from sirocco.engine.request import Request
from sirocco.kvcache.format import FLOAT16
from sirocco.model.linear import FORMATS
from sirocco.model.presets import preset
from sirocco.model.random_model import random_model
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.types import SamplingParams

SHAPE = dataclasses.replace(preset("breeze"), vocab_size=320, dim=64, hidden_dim=96, n_layers=2,
                            n_heads=4, head_dim=16, window=24)  # fmt: skip


def test_what_followed_the_last_three_tokens_is_guessed():
    assert PromptLookup().guess([1, 2, 3, 4, 5, 6, 1, 2, 3], 2) == (4, 5)


def test_the_latest_of_several_places_is_taken():
    text = [1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3]

    assert PromptLookup().guess(text, 1) == (5,)


@pytest.mark.parametrize("text", [[], [1], [1, 2, 3], [1, 2, 3, 4, 5, 6]])
def test_nothing_is_guessed_from_what_was_never_seen(text):
    assert PromptLookup().guess(text, 4) == ()


def test_what_turns_in_a_circle_is_guessed_to_go_on_turning():
    assert PromptLookup().guess([9, 1, 2, 1, 2, 1, 2], 5) == (1, 2, 1, 2, 1)
    assert PromptLookup().guess([7, 7, 7, 7], 4) == (7, 7, 7, 7)


def test_no_more_is_guessed_than_asked_for():
    assert len(PromptLookup().guess(list(range(20)) * 2, 4)) == 4


def test_wrong_guesses_make_it_pause_longer_each_time_until_one_is_right():
    lookup, text = PromptLookup(), [1, 2, 3, 4] * 3
    pauses = []
    for n_right in (0, 0, 0, 1, 0):
        steps = 0
        while not (guessed := lookup.guess(text, 1)):
            steps += 1
        pauses.append(steps)
        lookup.learn(len(guessed), n_right)

    assert pauses == [0, 1, 2, 4, 0]


@given(text=st.lists(st.integers(0, 3), max_size=60), limit=st.integers(1, 5))
def test_a_text_that_grows_gives_the_same_guesses_as_one_that_is_whole(text, limit):
    growing = PromptLookup()
    for end in range(len(text) + 1):
        assert growing.guess(text[:end], limit) == PromptLookup().guess(text[:end], limit)


def answers(n_guesses, requests, weights="q8", **limits):
    """Token ids and texts of all requests, and how many steps they took."""
    config = EngineConfig(**({"block_size": 8, "kv_cache_bytes": 10**6} | limits),
                          n_guesses=n_guesses)  # fmt: skip
    engine = Engine(
        random_model(SHAPE, seed=5, weights=FORMATS[weights]), ByteTokenizer(320), config
    )
    token_ids: dict[str, list[int]] = {}
    texts: dict[str, str] = {}
    n_steps = 0
    for name, (prompt, sampling) in requests.items():
        engine.add(Request(name, prompt, sampling))
    while engine.has_work:
        for piece in engine.step():
            token_ids.setdefault(piece.request_id, []).extend(piece.token_ids)
            texts[piece.request_id] = texts.get(piece.request_id, "") + piece.text
        engine.scheduler.check_integrity()
        n_steps += 1
    assert engine.scheduler.blocks.n_free == engine.runner.n_blocks
    return token_ids, texts, n_steps


def request(seed=None, n_tokens=60, **options):
    prompt = [5, 6, 7, 8, 9, 10, 11] * 3
    temperature = 0.0 if seed is None else 0.7
    return prompt, SamplingParams(temperature=temperature, seed=seed, max_tokens=n_tokens,
                                  ignore_eos=True, **options)  # fmt: skip


@pytest.mark.parametrize("weights", ["float32", "q8"])
@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("n_guesses", [1, 4, 16])
def test_an_answer_is_the_same_with_and_without_guesses(seed, n_guesses, weights):
    """The window is 24, so prompt and answer pass it three times."""
    requests = {"a": request(seed)}

    with_guesses, text, _ = answers(n_guesses, requests, weights)

    assert (with_guesses, text) == answers(0, requests, weights)[:2]


@pytest.mark.parametrize("weights", ["float32", "q8"])
def test_text_that_repeats_itself_takes_fewer_steps(weights):
    """A strong bias makes the model say one token for ever."""
    requests = {"a": request(logit_bias={20: 100.0})}

    token_ids, _, n_steps = answers(4, requests, weights)

    assert token_ids["a"] == [20] * 60
    assert n_steps < 30


@pytest.mark.parametrize(
    "options",
    [
        {"frequency_penalty": 1.5},
        {"repetition_penalty": 1.3, "presence_penalty": 0.5},
        {"logprobs": 2},
        {"stop": ("zz", "\x01")},
        {"logit_bias": {20: 100.0}, "stop": ("\x11\x11\x11\x11\x11",)},
    ],
    ids=str,
)
def test_penalties_and_stop_strings_see_what_was_guessed(options):
    requests = {"a": request(3, **options)}

    assert answers(4, requests)[:2] == answers(0, requests)[:2]


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 7])
def test_no_token_too_many_is_made(n_tokens):
    requests = {"a": request(logit_bias={20: 100.0}, n_tokens=n_tokens)}

    assert answers(8, requests)[0]["a"] == [20] * n_tokens


def test_company_and_scarce_blocks_change_nothing():
    requests = {str(n): request(n, n_tokens=30 + n) for n in range(4)}
    alone = {name: answers(0, {name: r})[0][name] for name, r in requests.items()}
    block_bytes = 8 * FLOAT16.bytes_per_token(SHAPE)

    scarce = answers(4, requests, kv_cache_bytes=14 * block_bytes, max_step_tokens=16,
                     max_running=4)[0]  # fmt: skip

    assert scarce == alone
