"""Model ids, and the folders behind them."""

import json

import pytest

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog, template
from sirocco.catalog.template import template_of
from sirocco.errors import CheckpointError, ModelNotInstalled, UnknownModel
from sirocco.model.presets import PRESETS
from sirocco.tokenizer import chat

UNSUPPORTED = "@hf/thebloke/llamaguard-7b-awq"
MISTRAL = "@cf/mistral/mistral-7b-instruct-v0.1"


def test_every_listed_model_has_a_known_shape_and_a_template(tmp_path):
    entries = Catalog(tmp_path).entries

    assert {MISTRAL, EMBEDDED_MODEL_ID} <= {entry.model_id for entry in entries}
    runnable = [entry for entry in entries if entry.unsupported is None]
    assert all(entry.preset in PRESETS for entry in runnable)
    assert {entry.template for entry in runnable} == set(template.TEMPLATES)
    assert all(e.context_window == PRESETS[str(e.preset)].max_seq_len for e in runnable)


def test_an_alias_finds_the_model(tmp_path):
    catalog = Catalog(tmp_path)

    assert catalog.find("@hf/mistralai/mistral-7b-instruct-v0.2") == catalog.find(
        "@hf/mistral/mistral-7b-instruct-v0.2"
    )


@pytest.mark.parametrize(
    "model_id",
    [
        "@cf/meta/llama-2-7b-chat-fp16",
        "@cf/meta/llama-2-7b-chat-int8",
        "@cf/mistral/mistral-7b-instruct-v0.1",
        "@hf/thebloke/codellama-7b-instruct-awq",
        "@hf/thebloke/llama-2-13b-chat-awq",
        "@hf/thebloke/zephyr-7b-beta-awq",
        "@hf/thebloke/mistral-7b-instruct-v0.1-awq",
        "@hf/thebloke/openchat_3.5-awq",
        "@hf/thebloke/openhermes-2.5-mistral-7b-awq",
        "@hf/thebloke/neural-chat-7b-v3-1-awq",
        "@hf/thebloke/starling-lm-7b-alpha-awq",
        "@hf/thebloke/orca-2-13b-awq",
        "@hf/thebloke/llamaguard-7b-awq",
        "@hf/thebloke/deepseek-coder-6.7b-base-awq",
        "@hf/thebloke/deepseek-coder-6.7b-instruct-awq",
    ],
)
def test_every_model_of_the_public_services_first_months_is_listed(tmp_path, model_id):
    assert Catalog(tmp_path).find(model_id).model_id == model_id


def test_the_names_of_templates_are_those_that_can_be_written():
    assert set(template.TEMPLATES) == set(chat.TEMPLATES)


def test_a_price_is_in_neurons_and_in_dollars(tmp_path):
    price = Catalog(tmp_path).find(MISTRAL).price

    assert (price.prompt, price.output) == (10_000, 17_300)
    assert (round(price.prompt_usd, 3), round(price.output_usd, 3)) == (0.110, 0.190)


def test_models_that_share_a_checkpoint_share_its_folder(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    shared = "@hf/thebloke/mistral-7b-instruct-v0.1-awq"

    assert Catalog(tmp_path).find(shared).folder == tmp_path / MISTRAL
    assert Catalog(tmp_path, {MISTRAL: own}).find(shared).folder == own


def test_a_model_that_cannot_run_is_not_installed_whatever_lies_in_its_folder(tmp_path):
    folder = tmp_path / UNSUPPORTED
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    catalog = Catalog(tmp_path)
    entry = catalog.find(UNSUPPORTED)

    assert not entry.is_installed
    assert not entry.can_be_pulled
    with pytest.raises(ModelNotInstalled, match="cannot run on this version"):
        catalog.installed(entry)


def test_a_users_folder_for_a_model_that_cannot_run_is_the_users_word(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_text('{"model_type": "mistral"}')

    entry = Catalog(tmp_path, {UNSUPPORTED: own}).find(UNSUPPORTED)

    assert (entry.is_installed, entry.template) == (True, "mistral-instruct")


def test_a_checkpoint_that_was_pulled_by_its_repository_is_found(tmp_path):
    catalog = Catalog(tmp_path)
    folder = tmp_path / "me" / "Tiny-1.5"
    folder.mkdir(parents=True)
    assert "me/Tiny-1.5" not in {entry.model_id for entry in catalog.entries}
    (folder / "config.json").write_text('{"model_type": "mistral"}')

    entry = catalog.find("me/Tiny-1.5")

    assert (entry.folder, entry.template, entry.is_installed) == (folder, "mistral-instruct", True)
    assert catalog.entries[-1] == entry


@pytest.mark.parametrize(
    "model_id", ["../x", "me/..", "me/.hidden", "/etc", "me/x/y", "me//x", "me/x\n", "@me/x", ""]
)
def test_an_id_from_outside_leads_to_no_other_folder(tmp_path, model_id):
    for name in ("x", "me/x", "me/.hidden", "me", "me/x/y", "@me/x"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text("{}")

    with pytest.raises(UnknownModel):
        Catalog(tmp_path / "models").find(model_id)


def test_a_model_is_found_by_its_repository(tmp_path):
    catalog = Catalog(tmp_path)

    assert catalog.find_by_hub("mistralai/Mistral-7B-Instruct-v0.1") == catalog.find(MISTRAL)
    assert catalog.find_by_hub("meta-llama/LlamaGuard-7b") is None


def test_an_unknown_id_is_refused_in_the_words_of_the_wire(tmp_path):
    with pytest.raises(UnknownModel, match="No such model @cf/x/y or task"):
        Catalog(tmp_path).find("@cf/x/y")


def test_a_model_without_weights_says_what_to_do(tmp_path):
    catalog = Catalog(tmp_path)

    with pytest.raises(ModelNotInstalled, match="--stand-in"):
        catalog.installed(catalog.find(MISTRAL))


def test_weights_in_the_models_folder_are_found(tmp_path):
    folder = tmp_path / MISTRAL
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    catalog = Catalog(tmp_path)

    assert catalog.installed(catalog.find(MISTRAL)).folder == folder


def test_a_users_folder_takes_the_place_of_a_listed_models(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    catalog = Catalog(tmp_path, {MISTRAL: own})

    entry = catalog.find(MISTRAL)
    assert (entry.folder, entry.template) == (own, "mistral-instruct")


def test_a_users_own_id_is_listed_with_its_folders_template(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "tokenizer_config.json").write_text(json.dumps({"chat_template": "<<SYS>> [INST]"}))

    catalog = Catalog(tmp_path, {"@me/mine": own})

    assert catalog.find("@me/mine").template == "llama2"
    assert catalog.entries[-1].model_id == "@me/mine"


def test_a_users_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        Catalog(tmp_path, {"@me/mine": tmp_path / "nowhere"})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"config.json": '{"model_type": "mistral"}'}, "mistral-instruct"),
        ({"config.json": '{"model_type": "llama"}'}, None),
        ({"params.json": "{}"}, "mistral-instruct"),
        ({"chat_template.jinja": "{{ '[INST]' }}"}, "mistral-instruct"),
        ({"tokenizer_config.json": '{"chat_template": "<|im_start|>"}',
          "config.json": '{"model_type": "mistral"}'}, "chatml"),
        ({"chat_template.jinja": "<|im_start|>"}, "chatml"),
        ({"tokenizer_config.json": '{"chat_template": "x", "added": "<|im_start|>"}',
          "config.json": '{"model_type": "mistral"}'}, None),
        ({"tokenizer_config.json": '{"chat_template": "GPT4 Correct "}'}, "openchat"),
        ({"tokenizer_config.json": '{"chat_template": "<|user|> eos_token"}'}, "zephyr"),
        ({"tokenizer_config.json": '{"chat_template": "<|user|> <|end|>"}'}, None),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "default"}]}'}, None),
        ({"tokenizer.json": '{"added_tokens": [{"id": 3, "content": "[INST]"}]}'}, "breeze"),
        ({"tokenizer.json": "[" * 5000}, None),
        ({"config.json": "[1]"}, None),
    ],
)  # fmt: skip
def test_a_template_is_read_from_the_files_of_a_checkpoint(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert template_of(tmp_path) == expected
