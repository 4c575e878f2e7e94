"""Plans: what fits, how long a step takes, and what grouped-query attention buys."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirocco.engine.config import EngineConfig
from sirocco.errors import ConfigError
from sirocco.model.presets import preset
from sirocco.plan.hardware import Hardware, Steps, hardware, known_hardware
from sirocco.plan.planning import (
    BLOCK_SIZE,
    MEMORY_SHARE,
    Question,
    decode_step,
    held_bytes,
    kinds_of_attention,
    largest_batch,
    plan,
)
from sirocco.plan.report import compared

MISTRAL = preset("mistral-7b")
CARD = Hardware(
    id="card", name="a card", memory_bytes=100e9, read_bytes_per_s=1e12,
    operations_per_s={"bfloat16": 1e14, "q4": 1e14}, attention_operations_per_s=1e14,
    usd_per_hour=3.6,
)  # fmt: skip


def test_a_step_reads_the_weights_once_and_each_sequence_its_keys_and_values():
    question = Question(MISTRAL, context=1024)

    step = decode_step(question, CARD, 2)

    assert step.weights_s == pytest.approx(question.needs.step_bytes / 1e12)
    assert step.attention_s == pytest.approx(2 * 1024 * 131_072 / 1e12)
    assert step.tokens_per_s == pytest.approx(2 / (step.weights_s + step.attention_s))


def test_a_large_batch_is_bound_by_arithmetic():
    step = decode_step(Question(MISTRAL, context=1), CARD, 1000)

    assert step.weights_s == pytest.approx(2 * 1000 * Question(MISTRAL).needs.n_in_matrices / 1e14)


STEPS = Steps(
    {"q4": ((1, 3e-11), (4, 5e-11), (16, 2e-10))}, step_s=1e-3, layer_s=1e-5, sequence_s=1e-4
)


@pytest.mark.parametrize(
    ("batch", "weight_s"),
    [(1, 3e-11), (2, 3e-11 + 2e-11 / 3), (4, 5e-11), (10, 1.25e-10), (16, 2e-10), (32, 4e-10)],
)
def test_where_steps_were_measured_matrices_take_what_they_took(batch, weight_s):
    question, machine = Question(MISTRAL, "q4", context=1024), replace(CARD, steps=STEPS)

    step = decode_step(question, machine, batch)

    assert step.weights_s == pytest.approx(weight_s * question.needs.n_in_matrices)
    assert step.attention_s == decode_step(question, CARD, batch).attention_s
    assert step.rest_s == pytest.approx(1e-3 + 32 * 1e-5 + batch * 1e-4)
    assert step.tokens_per_s == pytest.approx(
        batch / (step.weights_s + step.attention_s + step.rest_s)
    )


def test_the_share_of_its_data_sheet_that_a_machine_gives_scales_every_time():
    question, half = Question(MISTRAL), replace(CARD, share=0.5)

    assert decode_step(question, half, 1).tokens_per_s == pytest.approx(
        decode_step(question, CARD, 1).tokens_per_s / 2
    )
    assert plan(question, half).prompt_tokens_per_s == pytest.approx(
        plan(question, CARD).prompt_tokens_per_s / 2
    )


@given(
    context=st.integers(1, 32_768),
    n_kv_heads=st.sampled_from([1, 2, 4, 8, 16, 32]),
    weights=st.sampled_from(["bfloat16", "q4"]),
)
def test_the_largest_batch_fits_and_one_more_does_not(context, n_kv_heads, weights):
    question = Question(MISTRAL, weights, context=context).with_kv_heads(n_kv_heads)

    n = largest_batch(question, CARD)

    room = MEMORY_SHARE * CARD.memory_bytes - question.needs.weights_bytes
    assert n * held_bytes(question) <= room < (n + 1) * held_bytes(question)


def test_a_window_bounds_what_a_sequence_holds():
    """⌈(W − 1) / P⌉ + 1 blocks between two steps, however long the sequence is."""
    tiny = replace(MISTRAL, window=8, max_seq_len=4096)

    assert EngineConfig().block_size == BLOCK_SIZE
    assert held_bytes(Question(tiny, context=4096)) == 2 * 16 * 131_072
    assert held_bytes(Question(tiny, context=5)) == 16 * 131_072


def test_what_does_not_fit_is_said_to_hold_no_sequence():
    small = replace(CARD, memory_bytes=8e9)

    made = plan(Question(MISTRAL), small)

    assert (made.largest_batch, made.single, made.step) == (0, None, None)
    assert made.usd_per_million_tokens is None
    assert plan(Question(MISTRAL, batch=10_000), CARD).step is None


def test_a_million_tokens_cost_the_time_they_take():
    made = plan(Question(MISTRAL, batch=1), CARD)

    assert made.step is not None
    assert made.usd_per_million_tokens == pytest.approx(0.001 * 1e6 / made.step.tokens_per_s)


def test_close_to_four_times_needs_equal_memory_and_a_long_context():
    """The post's claim on the card it was made about: 3.5 x and more where KV memory is full."""
    h200 = hardware("h200")

    def gain(context: int, batch: int | None) -> float:
        question = Question(MISTRAL, context=context, batch=batch)
        grouped, multi = (plan(question.with_kv_heads(n), h200).step for n in (8, 32))
        assert grouped is not None
        assert multi is not None
        return grouped.tokens_per_s / multi.tokens_per_s

    assert gain(4096, None) > 3.5
    assert gain(512, None) < 3.0
    assert gain(4096, 1) < 1.5


def test_a_model_is_compared_with_itself_under_other_attention():
    rows = compared(Question(MISTRAL), CARD)

    assert [(row["attention"], row["kv_heads"], row["is_this_model"]) for row in rows] == [
        ("MHA", 32, False), ("GQA-8", 8, True), ("MQA", 1, False),
    ]  # fmt: skip
    assert [n for _, n in kinds_of_attention(preset("llama-2-7b"))] == [32, 8, 1]
    assert [n for _, n in kinds_of_attention(replace(MISTRAL, n_heads=6, n_kv_heads=1))] == [6, 1]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"weights": "q5"}, "weights must be one of .*, got 'q5'"),
        ({"kv_format": "int3"}, "kv_format must be one of .*, got 'int3'"),
        ({"context": 0}, "context must be 1 to the model's 32768, got 0"),
        ({"context": 32_769}, "got 32769"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
    ],
)
def test_a_wrong_question_is_refused_by_name(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Question(MISTRAL, **wrong)


def test_a_machine_that_cannot_multiply_a_format_says_which_it_can():
    with pytest.raises(ConfigError, match="fp8 cannot be multiplied on a card; it has bfloat16"):
        plan(Question(MISTRAL, "fp8"), CARD)
    with pytest.raises(ConfigError, match="hardware 'abacus' is not one of local, b200"):
        hardware("abacus")


@pytest.mark.parametrize("machine", known_hardware().values(), ids=lambda machine: machine.id)
def test_every_machine_of_the_table_can_be_planned_for(machine):
    weights = "bfloat16" if machine.memory_bytes > 20e9 else "q4"

    made = plan(Question(MISTRAL, weights, context=2048), machine)

    assert made.largest_batch >= 1
    assert made.step is not None
    assert made.single is not None
    assert made.step.tokens_per_s >= made.single.tokens_per_s
