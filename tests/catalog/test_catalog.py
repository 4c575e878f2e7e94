"""Model ids, and the folders behind them."""

import json

import pytest

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.catalog.template import template_of
from sirocco.errors import CheckpointError, ModelNotInstalled, UnknownModel
from sirocco.model.presets import PRESETS

MISTRAL = "@cf/mistral/mistral-7b-instruct-v0.1"


def test_every_listed_model_has_a_known_shape_and_a_template(tmp_path):
    entries = Catalog(tmp_path).entries

    assert {MISTRAL, EMBEDDED_MODEL_ID} <= {entry.model_id for entry in entries}
    assert all(entry.preset in PRESETS for entry in entries)
    assert {entry.template for entry in entries} == {"breeze", "mistral-instruct", "llama2"}


def test_an_alias_finds_the_model(tmp_path):
    catalog = Catalog(tmp_path)

    assert catalog.find("@cf/meta/llama-2-7b-chat-int8") == catalog.find(
        "@cf/meta/llama-2-7b-chat-fp16"
    )


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
    ("files", "template"),
    [
        ({}, None),
        ({"config.json": '{"model_type": "mistral"}'}, "mistral-instruct"),
        ({"config.json": '{"model_type": "llama"}'}, None),
        ({"params.json": "{}"}, "mistral-instruct"),
        ({"chat_template.jinja": "{{ '[INST]' }}"}, "mistral-instruct"),
        ({"tokenizer_config.json": '{"chat_template": "<|im_start|>"}',
          "config.json": '{"model_type": "mistral"}'}, None),
        ({"tokenizer.json": '{"added_tokens": [{"id": 3, "content": "[INST]"}]}'}, "breeze"),
        ({"tokenizer.json": "[" * 5000}, None),
        ({"config.json": "[1]"}, None),
    ],
)  # fmt: skip
def test_a_template_is_read_from_the_files_of_a_checkpoint(tmp_path, files, template):
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert template_of(tmp_path) == template
