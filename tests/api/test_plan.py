"""`sirocco plan` over HTTP: the figures behind the page."""

import json

import httpx
import pytest
from tests.api.conftest import MISTRAL, MODEL

from sirocco.model.presets import preset
from sirocco.plan import local
from sirocco.plan.hardware import hardware
from sirocco.plan.planning import Question
from sirocco.plan.report import compared


@pytest.fixture
def ask(server):
    def get(path="", **parameters):
        url = f"{server.url}/client/v4/accounts/{server.account_id}/ai/plan{path}"
        return httpx.get(url, params=parameters, headers=server.headers)

    return get


def test_a_plan_has_the_figures_of_the_command(ask):
    result = ask(model="mistral-7b", on="h200", context=4096).json()["result"]

    expected = compared(Question(preset("mistral-7b")), hardware("h200"))
    assert result["compared"] == [dict(row) for row in expected]
    assert (result["weights"], result["machine"]["id"]) == ("bfloat16", "h200")
    assert result["shape"]["n_parameters"] == preset("mistral-7b").n_parameters


def test_a_model_of_the_catalogue_is_planned_by_its_preset_or_its_folder(ask):
    absent = ask(model=MISTRAL).json()["result"]
    here = ask(model=MODEL).json()["result"]

    assert absent["shape"]["n_kv_heads"] == 8
    assert here["context"] == here["shape"]["max_seq_len"] < 4096


def test_sliders_change_heads_window_and_price(ask):
    result = ask(n_kv_heads=1, window="none", usd_per_hour=0, context=8192, batch=2).json()[
        "result"
    ]

    assert (result["plan"]["kv_heads"], result["shape"]["window"]) == (1, None)
    assert result["plan"]["batch"] == 2
    assert result["plan"]["usd_per_million_tokens"] == 0
    assert result["plan"]["kv_bytes_per_sequence"] == 8192 * 16_384


def test_curves_end_at_what_memory_and_model_allow(ask):
    result = ask(model="llama-2-7b", on="l4", weights="q4", context=2048).json()["result"]

    by_kind = {row["attention"]: row["largest_batch"] for row in result["compared"]}
    assert {
        kind: max(point["batch"] for point in curve if point["tokens_per_s"] is not None)
        for kind, curve in result["by_batch"].items()
    } == by_kind
    assert len({tuple(p["batch"] for p in curve) for curve in result["by_batch"].values()}) == 1
    assert {curve[-1]["context"] for curve in result["by_context"].values()} == {4096}


def test_the_choices_are_all_plannable(ask):
    choices = ask("/choices").json()["result"]

    assert {"mistral-7b", MISTRAL, MODEL} <= set(choices["models"])
    for model in choices["models"]:
        assert ask(model=model, on="b200").status_code == 200, model
    for machine in choices["machines"]:
        assert ask(on=machine["id"], weights="q4", context=128).status_code == 200, machine


def test_this_machine_is_there_once_it_was_measured(ask, server):
    refused = ask(on="local")
    figures = {
        "read_bytes_per_s": 2e10, "operations_per_s": {"q4": 2e11},
        "attention_operations_per_s": 3e10, "threads": 2, "isa": "avx2",
        "steps": {
            "weight_s": {"q4": [[1, 3e-11], [4, 4e-11], [64, 4e-10]]},
            "step_s": 1e-3, "layer_s": 1e-5, "sequence_s": 1e-4,
        },
    }  # fmt: skip
    file = server.app.state.settings.home / local.FILE_NAME
    file.write_text(json.dumps(figures))
    planned, choices = ask(on="local", model="tinyllama-1.1b", context=512), ask("/choices")
    file.unlink()

    assert refused.status_code == 400
    assert "run `sirocco plan` once" in refused.json()["errors"][0]["message"]
    assert planned.json()["result"]["weights"] == "q4"
    assert choices.json()["result"]["machines"][0]["id"] == "local"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model": "gpt-9"}, "preset 'gpt-9' is not one of"),
        ({"on": "abacus"}, "hardware 'abacus' is not one of"),
        ({"context": 0}, "/context"),
        ({"context": 10**6}, "context must be 1 to the model's 32768"),
        ({"weights": "q5"}, "weights must be one of"),
        ({"kv_format": "q5"}, "kv_format must be one of"),
        ({"n_kv_heads": 7}, "n_kv_heads 7 must divide n_heads 32"),
        ({"window": "wide"}, "/window"),
        ({"usd_per_hour": "nan"}, "/usd_per_hour"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(ask, wrong, words):
    refused = ask(**wrong)

    assert refused.status_code == 400
    assert words in json.dumps(refused.json()["errors"])


def test_an_unknown_model_of_the_catalogue_is_not_found(ask):
    refused = ask(model="@cf/none/none")

    assert (refused.status_code, refused.json()["success"]) == (400, False)
