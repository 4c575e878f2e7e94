"""One step of many answers, against transformers and against itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco.engine.request import Request
from sirocco.engine.scoring import score
from sirocco.errors import InvalidInput, PromptTooLong
from sirocco.kvcache.format import FLOAT32
from sirocco.types import FinishReason, SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True)


def prompt_of(n_tokens, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 259, (n_tokens,), generator=generator).tolist()


@pytest.fixture
def transformers_tokens(tmp_path):
    """Greedy answers of transformers' own class, from the checkpoint that we write."""

    def generate(model, prompt, n_tokens):
        from transformers import AutoModelForCausalLM

        from sirocco.model.weights import save_model

        save_model(model, tmp_path)
        theirs = AutoModelForCausalLM.from_pretrained(
            tmp_path, dtype=torch.float32, attn_implementation="eager"
        )
        ids = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=n_tokens, do_sample=False, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        return ids[0, len(prompt) :].tolist()

    return generate


@pytest.mark.parametrize("n_prompt_tokens", [1, 10, 40])
def test_greedy_over_three_windows_equals_transformers(
    make_engine, run_all, transformers_tokens, n_prompt_tokens
):
    """The window is 16: prompt and answer pass it three times and more."""
    engine = make_engine(max_step_tokens=64)
    prompt = prompt_of(n_prompt_tokens)
    engine.add(
        Request("a", prompt, SamplingParams(temperature=0.0, max_tokens=60, ignore_eos=True))
    )

    ours = run_all(engine)["a"]

    assert ours == transformers_tokens(engine.model, prompt, 60)
    assert len(set(ours)) > 10, "an answer that repeats itself would prove little"


@pytest.mark.parametrize(
    "limits",
    [
        {"max_step_tokens": 3, "max_running": 3},
        {"max_step_tokens": 17},
        {"block_size": 1},
        {"block_size": 16},
        {"n_blocks": 16},
    ],
    ids=str,
)
def test_an_answer_does_not_depend_on_mates_chunks_blocks_or_preemption(
    make_engine, run_all, limits
):
    prompts = {f"r{n}": prompt_of(n, seed=n) for n in (1, 5, 21, 50)}
    alone: dict[str, list[int]] = {}
    for name, prompt in prompts.items():
        engine = make_engine()
        engine.add(Request(name, prompt, GREEDY))
        alone |= run_all(engine)

    engine = make_engine(**({"max_running": 8} | limits))
    for name, prompt in prompts.items():
        engine.add(Request(name, prompt, GREEDY))

    assert run_all(engine) == alone


def test_a_seeded_answer_is_the_same_alone_and_in_company(make_engine, run_all):
    sampling = SamplingParams(temperature=1.2, top_p=0.9, seed=11, max_tokens=20, ignore_eos=True)
    engine = make_engine()
    engine.add(Request("a", prompt_of(9), sampling))
    alone = run_all(engine)["a"]

    engine = make_engine(max_step_tokens=9, max_running=4)
    engine.add(Request("other", prompt_of(30, seed=5), GREEDY))
    engine.add(Request("a", prompt_of(9), sampling))

    assert run_all(engine)["a"] == alone


def test_three_callers_gain_a_token_in_every_step(make_engine):
    engine = make_engine()
    for name in "abc":
        engine.add(Request(name, prompt_of(4), GREEDY))

    for _ in range(5):
        assert sorted(piece.request_id for piece in engine.step()) == ["a", "b", "c"]


def test_an_answer_of_max_tokens_ends_with_length(make_engine, run_all):
    engine = make_engine()
    engine.add(
        Request("a", prompt_of(4), SamplingParams(temperature=0.0, max_tokens=3, ignore_eos=True))
    )

    pieces = [piece for _ in range(3) for piece in engine.step()]

    assert [piece.finish_reason for piece in pieces] == [None, None, FinishReason.LENGTH]
    assert not engine.has_work


def test_max_tokens_is_cut_to_what_fits_beside_the_prompt(make_engine, run_all):
    engine = make_engine(max_seq_len=20)
    engine.add(
        Request("a", prompt_of(15), SamplingParams(temperature=0.0, max_tokens=99, ignore_eos=True))
    )

    assert len(run_all(engine)["a"]) == 5


def test_the_end_token_ends_an_answer_and_is_no_text(make_engine):
    engine = make_engine()
    engine.add(Request("a", prompt_of(4), SamplingParams(temperature=0.0, logit_bias={2: 100.0})))

    (piece,) = engine.step()

    assert (piece.text, piece.finish_reason) == ("", FinishReason.STOP)


def test_the_control_token_that_ends_a_turn_ends_an_answer(make_engine, monkeypatch):
    """Whatever the checkpoint says: Orca 2 has `<|im_end|>` in its template, and names `</s>`."""
    engine = make_engine()
    monkeypatch.setattr(engine.tokenizer, "control_id", {"<|im_end|>": 77}.get)
    engine.add(Request("a", prompt_of(4), SamplingParams(temperature=0.0, logit_bias={77: 100.0})))

    (piece,) = engine.step()

    assert (piece.text, piece.finish_reason) == ("", FinishReason.STOP)


def test_a_stop_string_ends_an_answer_before_itself(make_engine):
    engine = make_engine()
    letter = engine.tokenizer.encode("x")[0]
    sampling = SamplingParams(temperature=0.0, logit_bias={letter: 100.0}, stop=("xxx",))
    engine.add(Request("a", prompt_of(4), sampling))

    pieces = [piece for _ in range(3) for piece in engine.step()]

    assert "".join(piece.text for piece in pieces) == ""
    assert pieces[-1].finish_reason is FinishReason.STOP
    assert not engine.has_work
    engine.scheduler.check_integrity()


def test_an_abort_frees_the_blocks_before_the_next_step(make_engine):
    engine = make_engine()
    engine.add(Request("a", prompt_of(30), GREEDY))
    engine.add(Request("b", prompt_of(30), GREEDY))
    engine.step()
    held = 64 - engine.scheduler.blocks.n_free

    piece = engine.abort("a")

    assert piece is not None
    assert piece.finish_reason is FinishReason.ABORT
    assert 64 - engine.scheduler.blocks.n_free == held // 2
    assert engine.abort("a") is None
    assert [p.request_id for p in engine.step()] == ["b"]


def test_logits_that_are_not_numbers_end_one_answer_alone(make_engine, run_all):
    """Token 5 poisons its own row; nobody else ever reads it."""
    engine = make_engine()
    with torch.no_grad():
        engine.model.embedding.weight[5] = torch.nan
    healthy = prompt_of(4)
    engine.add(Request("bad", [7, 5, 9], GREEDY))
    engine.add(Request("good", healthy, GREEDY))

    pieces = {piece.request_id: piece for piece in engine.step()}

    assert pieces["bad"].finish_reason is FinishReason.ABORT
    assert "not finite" in str(pieces["bad"].error)
    assert len(run_all(engine)["good"]) == 19


def test_blocks_that_held_nan_do_not_touch_who_holds_them_next(make_engine, run_all):
    engine = make_engine(n_blocks=8)
    engine.add(Request("a", prompt_of(9), GREEDY))
    expected = run_all(engine)["a"]

    poisoned = make_engine(n_blocks=8)
    for tensor in (*poisoned.runner.backend.cache.k, *poisoned.runner.backend.cache.v):
        tensor.fill_(torch.nan)
    poisoned.add(Request("a", prompt_of(9), GREEDY))

    assert run_all(poisoned)["a"] == expected


@pytest.mark.parametrize(
    ("prompt", "sampling", "named"),
    [
        ([], {}, "/prompt"),
        ([3, 259], {}, "/prompt"),
        ([-1], {}, "/prompt"),
        ([3], {"logit_bias": {259: 1.0}}, "/logit_bias"),
        ([3], {"n": 65}, "/n"),
    ],
)
def test_what_the_model_cannot_use_is_refused_by_name(make_engine, prompt, sampling, named):
    engine = make_engine()

    with pytest.raises(InvalidInput, match=named):
        engine.add(Request("a", prompt, SamplingParams(**sampling)))
    assert not engine.has_work


def test_a_prompt_that_leaves_no_room_is_refused_with_the_limit(make_engine):
    engine = make_engine(max_seq_len=20)

    with pytest.raises(PromptTooLong, match=r"\(20\)"):
        engine.add(Request("a", prompt_of(20), GREEDY))


def test_generating_and_scoring_agree_on_log_probabilities(make_engine):
    engine = make_engine(max_step_tokens=7, max_running=4)
    prompt = prompt_of(11)
    engine.add(Request("a", prompt, SamplingParams(temperature=0.0, max_tokens=40, logprobs=0,
                                           ignore_eos=True)))  # fmt: skip
    pieces = []
    while engine.has_work:
        pieces += engine.step()
    token_ids = [t for piece in pieces for t in piece.token_ids]
    said = [entry.logprob for piece in pieces for entry in piece.logprobs]

    scored = score(engine, prompt + token_ids)[len(prompt) - 1 :]

    assert scored == pytest.approx(said, abs=1e-4)
    assert engine.scheduler.blocks.n_free == engine.runner.n_blocks


@settings(max_examples=15, deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 30), st.booleans()), min_size=1, max_size=6
    )
)
def test_whatever_is_asked_and_aborted_all_blocks_come_back(make_engine_once, requests):
    engine = make_engine_once
    for index, (n_prompt, n_output, is_aborted) in enumerate(requests):
        sampling = SamplingParams(max_tokens=n_output, seed=index)
        engine.add(Request(str(index), prompt_of(n_prompt, seed=index), sampling))
        engine.step()
        if is_aborted:
            engine.abort(str(index))
    while engine.has_work:
        engine.step()

    engine.scheduler.check_integrity()
    assert engine.scheduler.blocks.n_free == engine.runner.n_blocks


@pytest.fixture(scope="module")
def make_engine_once():
    from sirocco.engine.config import EngineConfig
    from sirocco.engine.engine import Engine
    from sirocco.model.config import ModelConfig
    from sirocco.model.random_model import random_model
    from sirocco.tokenizer.byte import ByteTokenizer

    shape = ModelConfig(
        vocab_size=259, dim=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, hidden_dim=16,
        window=16, max_seq_len=128,
    )  # fmt: skip
    block_bytes = 4 * FLOAT32.bytes_per_token(shape)
    config = EngineConfig(block_size=4, kv_cache_bytes=12 * block_bytes, max_step_tokens=16,
                          max_running=8)  # fmt: skip
    return Engine(random_model(shape), ByteTokenizer(), config)
