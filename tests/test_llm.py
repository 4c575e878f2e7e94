"""The engine for a script, under the names that others rely on."""

from dataclasses import replace

import pytest
import torch

import sirocco
from sirocco import LLM, SamplingParams
from sirocco.errors import CheckpointError, ConfigError, InvalidInput
from sirocco.model.linear import float_weight
from sirocco.types import FinishReason

GREEDY = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)


@pytest.fixture(scope="module")
def llm():
    return LLM.random("breeze", seed=1, max_seq_len=512)


def test_the_public_names_are_there():
    assert all(getattr(sirocco, name) for name in sirocco.__all__)
    assert sirocco.LLM is LLM
    with pytest.raises(AttributeError):
        sirocco.Nothing  # noqa: B018


def test_one_output_per_prompt_in_their_order(llm):
    prompts = ["one", [1, 5, 9], "three"]

    outputs = llm.generate(prompts, GREEDY)

    alone = [llm.generate(prompt, GREEDY)[0] for prompt in prompts]
    assert [o.token_ids for o in outputs] == [o.token_ids for o in alone]
    assert [o.n_prompt_tokens for o in outputs] == [4, 3, 6]
    assert {o.finish_reason for o in outputs} == {FinishReason.LENGTH}
    assert all(o.n_cached_tokens == 0 for o in outputs)
    assert outputs[0].text == llm.tokenizer.decode(outputs[0].token_ids)


def test_each_prompt_can_have_its_own_sampling(llm):
    long, short = llm.generate(["a", "b"], [GREEDY, SamplingParams(max_tokens=2, ignore_eos=True)])

    assert (len(long.token_ids), len(short.token_ids)) == (8, 2)


def test_more_prompts_than_may_run_are_all_answered():
    llm = LLM.random("breeze", max_seq_len=64, kv_cache_bytes=1_000_000)

    outputs = llm.generate(["x"] * 70, SamplingParams(max_tokens=3, ignore_eos=True))

    assert [len(output.token_ids) for output in outputs] == [3] * 70


def test_a_common_beginning_is_computed_once(llm):
    _, second = llm.generate(["x" * 40 + end for end in "ab"], GREEDY)
    (again,) = llm.generate("x" * 40 + "b", GREEDY)

    assert again.token_ids == second.token_ids
    assert again.n_cached_tokens == 32  # two full blocks of 16


def test_without_a_prefix_cache_nothing_is_found():
    llm = LLM.random("breeze", max_seq_len=64, kv_cache_bytes=1_000_000, prefix_cache=False)

    outputs = [llm.generate("x" * 40, GREEDY)[0] for _ in range(2)]

    assert [output.n_cached_tokens for output in outputs] == [0, 0]


def test_several_answers_to_a_prompt_differ_and_the_first_is_that_of_one(llm):
    sampling = SamplingParams(max_tokens=8, ignore_eos=True, seed=5)
    (one,) = llm.generate("hello", sampling)

    (several,) = llm.generate("hello", replace(sampling, n=3))

    answers = [several, *several.others]
    assert [len(answer.token_ids) for answer in answers] == [8, 8, 8]
    assert len({tuple(answer.token_ids) for answer in answers}) == 3
    assert several.token_ids == one.token_ids


def test_streamed_pieces_join_to_the_whole_answer(llm):
    pieces = list(llm.stream("hello", GREEDY))

    (whole,) = llm.generate("hello", GREEDY)
    assert [t for piece in pieces for t in piece.token_ids] == whole.token_ids
    assert "".join(piece.text for piece in pieces) == whole.text


def test_leaving_a_stream_frees_its_blocks(llm):
    for _ in llm.stream("hello", GREEDY):
        break

    assert llm.engine.scheduler.blocks.n_free == llm.engine.runner.n_blocks


def test_a_stream_that_is_not_wanted_any_more_ends_between_two_steps(llm):
    wanted = iter([True, True, False])

    pieces = list(llm.stream("hello", GREEDY, is_wanted=lambda: next(wanted)))

    assert len(pieces) == 2
    assert not pieces[-1].is_last
    assert not llm.engine.has_work
    assert llm.engine.scheduler.blocks.n_free == llm.engine.runner.n_blocks


def test_a_conversation_can_be_streamed():
    llm = LLM("@sirocco/breeze-instruct")
    messages = [{"role": "user", "content": "Hello"}]

    pieces = list(llm.stream(llm.encode_chat(messages), GREEDY))

    assert "".join(piece.text for piece in pieces) == llm.chat(messages, GREEDY).text
    assert llm.template == "breeze"


def test_logprobs_come_with_the_tokens_when_asked(llm):
    (output,) = llm.generate("hi", SamplingParams(temperature=0.0, max_tokens=4, logprobs=2,
                                                  ignore_eos=True))  # fmt: skip

    assert [entry.token_id for entry in output.logprobs] == output.token_ids
    assert all(entry.top[0][0] == entry.token_id for entry in output.logprobs)


def test_score_gives_one_number_per_following_token(llm):
    scores = llm.score([1, 5, 9, 11])

    assert len(scores) == 3
    assert all(score < 0 for score in scores)


@pytest.mark.parametrize("n_kv_heads", [8, 2, 1])
def test_a_preset_can_have_other_kv_heads_and_another_window(n_kv_heads):
    llm = LLM.random("breeze", n_kv_heads=n_kv_heads, window=None, max_seq_len=64)

    config = llm.engine.model.config
    assert (config.n_kv_heads, config.window) == (n_kv_heads, None)
    assert len(llm.generate("x", GREEDY)[0].token_ids) == 8


def test_the_same_seed_gives_the_same_weights():
    first, same, other = (LLM.random("breeze", seed=s, max_seq_len=64) for s in (1, 1, 2))

    weights = [float_weight(llm.engine.model, "embedding.weight") for llm in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"weights": "float64"}, ConfigError, "weights"),
        ({"device": "tpu"}, ConfigError, "device"),
        ({"max_seq_len": 0}, ConfigError, "max_seq_len"),
        ({"max_seq_len": 10**9}, ConfigError, "max_seq_len"),
        ({"kv_cache_bytes": 10}, ConfigError, "kv_cache_bytes"),
        ({"block_size": -1}, ConfigError, "block_size"),
        ({"n_kv_heads": 3}, ConfigError, "n_kv_heads"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(options, error, named):
    with pytest.raises(error, match=named):
        LLM.random("breeze", **options)


def test_a_preset_that_is_none_names_those_there_are():
    with pytest.raises(ConfigError, match="mistral-7b"):
        LLM.random("gpt-4")


def test_a_model_that_is_neither_folder_nor_id_is_refused():
    with pytest.raises(ConfigError, match="'nowhere'"):
        LLM("nowhere")


def test_a_folder_that_is_no_checkpoint_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json") as caught:
        LLM(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_template_refuses_to_chat(llm):
    with pytest.raises(InvalidInput, match="template"):
        llm.chat([{"role": "user", "content": "hi"}])


def test_as_many_samplings_as_prompts(llm):
    with pytest.raises(InvalidInput, match="2 entries"):
        llm.generate(["a", "b"], [GREEDY])


def test_the_embedded_model_chats_in_english_words():
    llm = LLM("@sirocco/breeze-instruct")

    output = llm.chat(
        [{"role": "user", "content": "What is grouped query attention?"}],
        SamplingParams(temperature=0.0, max_tokens=80),
    )

    words = output.text.lower().split()
    assert output.finish_reason is FinishReason.STOP
    assert {"heads", "query", "keys", "kv", "head", "share", "queries"} & {
        word.strip(".,") for word in words
    }
