"""`sirocco models` tells which models there are, and which of them can run here."""

import json

import pytest

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog, catalog_file

MISTRAL = "@cf/mistral/mistral-7b-instruct-v0.1"
COLUMNS = ["id", "installed", "bytes", "hub", "template", "preset", "folder", "cannot run"]


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
        "id": MISTRAL, "installed": "no", "bytes": None,
        "hub": "mistralai/Mistral-7B-Instruct-v0.1", "template": "mistral-instruct",
        "preset": "mistral-7b", "folder": str(home / "models" / MISTRAL), "cannot run": None,
    }  # fmt: skip


def test_a_model_with_weights_is_installed(sirocco, home):
    make_checkpoint(home / "models" / MISTRAL)

    assert listed(sirocco)[MISTRAL]["installed"] == "yes"


def test_the_size_of_what_is_here_is_shown(sirocco, home):
    folder = make_checkpoint(home / "models" / MISTRAL)
    (folder / "model.safetensors").write_bytes(b"x" * 1_999_998)

    assert listed(sirocco)[MISTRAL]["bytes"] == 2_000_000
    (line,) = (x for x in sirocco("models").out.splitlines() if x.startswith(f"{MISTRAL} "))
    assert "2.0 MB" in line


def test_a_model_that_cannot_run_says_why_and_cannot_be_pulled(sirocco):
    row = listed(sirocco)["@hf/thebloke/llamaguard-7b-awq"]

    assert (row["installed"], row["hub"]) == ("no", None)
    assert row["cannot run"] == "its prompt, a task with categories of harm, is not in this version"


def test_a_model_that_was_pulled_by_its_repository_is_listed(sirocco, home):
    make_checkpoint(home / "models" / "me" / "tiny")

    assert listed(sirocco)["me/tiny"]["installed"] == "yes"


def test_a_list_of_ones_own_is_read(sirocco, refused, home):
    home.mkdir()
    (home / "catalog.toml").write_text('[[model]]\nid = "@me/mine"\nhub = "me/mine"')

    assert listed(sirocco)["@me/mine"]["hub"] == "me/mine"

    (home / "catalog.toml").write_text('[[model]]\nid = "@me/mine"\nhub = 5')
    assert refused("models").endswith("model 1, '@me/mine': hub must be a text, got 5")


@pytest.mark.parametrize(("has_weights", "installed"), [(True, "embedded"), (False, "no")])
def test_the_embedded_model_is_told_apart(
    sirocco, tmp_path, monkeypatch, has_weights, installed
):  # fmt: skip
    package = tmp_path / "package"
    monkeypatch.setattr(catalog_file, "PACKAGE", package)
    if has_weights:
        make_checkpoint(package / "embedded" / "breeze-instruct")

    assert listed(sirocco)[EMBEDDED_MODEL_ID]["installed"] == installed


def test_a_users_own_model_is_listed_last(sirocco, tmp_path, monkeypatch):
    folder = make_checkpoint(tmp_path / "mine", '{"model_type": "mistral"}')
    monkeypatch.setenv("SIROCCO_MODELS", json.dumps({"@me/mine": str(folder)}))

    rows = listed(sirocco)

    assert list(rows)[-1] == "@me/mine"
    assert rows["@me/mine"] == {
        "id": "@me/mine", "installed": "yes", "bytes": 25, "hub": None,
        "template": "mistral-instruct", "preset": None, "folder": str(folder), "cannot run": None,
    }  # fmt: skip


def test_the_table_shows_the_same_whole_in_a_narrow_terminal(sirocco, monkeypatch):
    rows = listed(sirocco)
    monkeypatch.setenv("COLUMNS", "20")

    header, *lines = sirocco("models").out.splitlines()

    assert header.split() == " ".join(COLUMNS).split()
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows.values(), strict=True):
        assert all(str(row[name]) in line for name in COLUMNS if name != "bytes" and row[name])


def test_an_own_folder_that_is_not_there_is_refused(refused, monkeypatch):
    monkeypatch.setenv("SIROCCO_MODELS", '{"@me/mine": "/nowhere"}')

    assert refused("models") == "the checkpoint of @me/mine, /nowhere, is not a folder"


def test_looking_at_models_touches_no_disk(sirocco, home):
    listed(sirocco)

    assert not home.exists()
