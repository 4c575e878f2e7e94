"""`sirocco plan` answers for people and for programs."""

import json

import pytest

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.plan import local


@pytest.fixture
def measured(home):
    home.mkdir(exist_ok=True)
    figures = {
        "read_bytes_per_s": 2e10, "operations_per_s": {"q4": 2e11, "q8": 1e11},
        "attention_operations_per_s": 3e10, "threads": 2, "isa": "avx2",
        "steps": {
            "weight_s": {"q4": [[1, 3e-11], [64, 4e-10]], "q8": [[1, 5e-11], [64, 1e-9]]},
            "step_s": 1e-3, "layer_s": 1e-5, "sequence_s": 1e-4,
        },
    }  # fmt: skip
    (home / local.FILE_NAME).write_text(json.dumps(figures))


def test_a_plan_for_a_card_compares_three_kinds_of_attention(sirocco):
    done = sirocco("plan", "mistral-7b", "--on", "h200", "--json")

    told = json.loads(done.out)
    assert (told["hardware"], told["weights"], told["context"]) == ("h200", "bfloat16", 4096)
    assert [row["kv_bytes_per_token"] for row in told["plans"]] == [524_288, 131_072, 16_384]
    assert [row["is_this_model"] for row in told["plans"]] == [False, True, False]


def test_a_plan_for_this_machine_uses_what_was_measured(sirocco, measured):
    done = sirocco("plan", "tinyllama-1.1b", "--context", "2048", "--json")

    told = json.loads(done.out)
    assert (told["hardware"], told["weights"]) == ("local", "q4")
    assert all(row["largest_batch"] > 0 for row in told["plans"])


def test_people_read_a_table(sirocco):
    done = sirocco(
        "plan", "llama-2-7b", "--on", "l4", "--weights", "bfloat16", "--usd-per-hour", "2"
    )

    assert "on NVIDIA L4: 24.0 GB, 300.0 GB/s, 70% of its data sheet" in done.out
    assert "MHA *" in done.out
    assert "GQA-8" in done.out
    assert "* this model" in done.out


def test_what_does_not_fit_is_told(sirocco):
    done = sirocco("plan", "llama-2-13b", "--on", "l4", "--weights", "bfloat16")

    assert "does not fit" in done.out


@pytest.mark.parametrize(
    ("model_id", "n_kv_heads"),
    [("@cf/mistral/mistral-7b-instruct-v0.1", 8), (EMBEDDED_MODEL_ID, 2)],
)
def test_a_model_of_the_catalogue_is_planned_here_or_not(sirocco, model_id, n_kv_heads):
    told = json.loads(sirocco("plan", model_id, "--on", "l40s", "--json").out)

    assert [row["kv_heads"] for row in told["plans"] if row["is_this_model"]] == [n_kv_heads]


def test_a_checkpoint_is_planned_by_its_folder(sirocco, tmp_path):
    folder = Catalog(tmp_path).find(EMBEDDED_MODEL_ID).folder

    assert json.loads(sirocco("plan", str(folder), "--on", "l4", "--json").out)["plans"]


def test_the_machines_are_listed(sirocco):
    rows = json.loads(sirocco("plan", "--list", "--json").out)

    assert {"h200", "a100", "epyc-7763"} <= {row["id"] for row in rows}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gpt-9"], "preset 'gpt-9' is not one of"),
        (["mistral-7b", "--on", "abacus"], "hardware 'abacus' is not one of"),
        (["mistral-7b", "--on", "h200", "--context", "99999"], "context must be 1 to the model's"),
        (["mistral-7b", "--on", "a100", "--weights", "fp8"], "fp8 cannot be multiplied on"),
    ],
)
def test_a_wrong_plan_is_refused_in_one_sentence(sirocco, measured, arguments, words):
    done = sirocco("plan", *arguments)

    assert done.status == 1
    assert words in done.err
    assert done.err.count("\n") == 1
