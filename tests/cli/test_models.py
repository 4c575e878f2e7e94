"""`sirocco models` tells which models there are, and which of them can run here."""

import json

import pytest

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog, catalog

MISTRAL = "@cf/mistral/mistral-7b-instruct-v0.1"
COLUMNS = ["id", "installed", "template", "preset", "folder"]


def listed(sirocco):
    done = sirocco("models", "--json")
    assert (done.status, done.err) == (0, "")
    return {row["id"]: row for row in json.loads(done.out)}


def make_checkpoint(folder, config="{}"):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config)
    return folder


def test_every_model_of_the_catalogue_is_listed(sirocco, home):
    rows = listed(sirocco)

    assert list(rows) == [entry.model_id for entry in Catalog(home).entries]
    assert all(list(row) == COLUMNS for row in rows.values())


def test_a_model_without_weights_tells_where_they_belong(sirocco, home):
    assert listed(sirocco)[MISTRAL] == {
        "id": MISTRAL, "installed": "no", "template": "mistral-instruct",
        "preset": "mistral-7b", "folder": str(home / "models" / MISTRAL),
    }  # fmt: skip


def test_a_model_with_weights_is_installed(sirocco, home):
    make_checkpoint(home / "models" / MISTRAL)

    assert listed(sirocco)[MISTRAL]["installed"] == "yes"


@pytest.mark.parametrize(("has_weights", "installed"), [(True, "embedded"), (False, "no")])
def test_the_embedded_model_is_told_apart(
    sirocco, tmp_path, monkeypatch, has_weights, installed
):  # fmt: skip
    package = tmp_path / "package"
    monkeypatch.setattr(catalog, "_PACKAGE", package)
    if has_weights:
        make_checkpoint(package / "embedded" / "breeze-instruct")

    assert listed(sirocco)[EMBEDDED_MODEL_ID]["installed"] == installed


def test_a_users_own_model_is_listed_last(sirocco, tmp_path, monkeypatch):
    folder = make_checkpoint(tmp_path / "mine", '{"model_type": "mistral"}')
    monkeypatch.setenv("SIROCCO_MODELS", json.dumps({"@me/mine": str(folder)}))

    rows = listed(sirocco)

    assert list(rows)[-1] == "@me/mine"
    assert rows["@me/mine"] == {
        "id": "@me/mine", "installed": "yes", "template": "mistral-instruct",
        "preset": None, "folder": str(folder),
    }  # fmt: skip


def test_the_table_shows_the_same_whole_in_a_narrow_terminal(sirocco, monkeypatch):
    rows = listed(sirocco)
    monkeypatch.setenv("COLUMNS", "20")

    header, *lines = sirocco("models").out.splitlines()

    assert header.split() == COLUMNS
    assert [line.split() for line in lines] == [list(row.values()) for row in rows.values()]


def test_an_own_folder_that_is_not_there_is_refused(refused, monkeypatch):
    monkeypatch.setenv("SIROCCO_MODELS", '{"@me/mine": "/nowhere"}')

    assert refused("models") == "the checkpoint of @me/mine, /nowhere, is not a folder"


def test_looking_at_models_touches_no_disk(sirocco, home):
    listed(sirocco)

    assert not home.exists()
