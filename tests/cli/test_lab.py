"""`sirocco lab attention`, with a study that is small enough for a test."""

import importlib.util
import json

import pytest

from sirocco.lab import size as sizes


@pytest.fixture
def small(monkeypatch, tiny_size):
    monkeypatch.setattr(sizes, "quick", lambda: tiny_size)


@pytest.fixture
def tiny_size():
    from dataclasses import replace

    size = sizes.quick()
    shape = replace(size.quality.shape, vocab_size=300, dim=32, head_dim=4, hidden_dim=64)
    speed = replace(size.decode.shape, vocab_size=512, dim=64, head_dim=8, hidden_dim=128)
    return sizes.LabSize(
        "tiny",
        replace(size.quality, shape=shape, seq_len=32, batch_size=2, n_seeds=1, n_held_out=1,
                long_seq_len=64, n_long_rows=1),
        replace(size.decode, shape=speed, contexts=(32, 64), kv_cache_bytes=2**19, n_runs=1),
    )  # fmt: skip


def test_a_person_gets_a_table_and_a_report(sirocco, small, tmp_path):
    out = tmp_path / "out"

    done = sirocco("lab", "attention", "--quick", "--steps", "1", "--out", str(out))

    assert done.status == 0, done.err
    assert "GQA-4" in done.out
    assert f"The report is {out / 'report.html'}" in done.out
    assert (out / "report.html").exists()
    assert (out / "pictures" / "quality.svg").exists()
    assert json.loads((out / "results.json").read_text())["steps"] == 1


def test_a_program_gets_json_and_no_files(sirocco, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = sirocco("lab", "attention", "--quick", "--steps", "1", "--json")

    assert json.loads(done.out)["table"][0]["variant"] == "MHA"
    assert not list(tmp_path.iterdir())


def test_halves_are_kept_until_the_report_is_there(sirocco, small, tmp_path):
    out = tmp_path / "out"
    asked = ("lab", "attention", "--quick", "--steps", "1", "--out", str(out))

    for half in ("train", "measure"):
        done = sirocco(*asked, "--only", half)
        assert (done.status, done.out) == (0, ""), done.err
        assert [f.name for f in out.iterdir()] == ["unfinished"]
    models = out / "unfinished" / "models"
    assert (models / "mha-0" / "model.safetensors").exists()
    done = sirocco(*asked)

    assert done.status == 0, done.err
    assert sorted(f.name for f in out.iterdir()) == ["pictures", "report.html", "results.json"]


def test_parts_of_another_study_are_refused(sirocco, small, tmp_path):
    out = str(tmp_path / "out")
    sirocco("lab", "attention", "--quick", "--steps", "1", "--out", out, "--only", "measure")

    done = sirocco("lab", "attention", "--quick", "--steps", "2", "--out", out)

    assert done.status == 1
    assert "other settings" in done.err


def test_a_half_that_nothing_would_keep_is_refused(sirocco, small):
    done = sirocco("lab", "attention", "--quick", "--only", "train", "--json")

    assert done.status == 1
    assert "--out" in done.err


def test_without_matplotlib_it_says_so_before_any_work(sirocco, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("sirocco.lab.pictures.find_spec", lambda name: None)

    done = sirocco("lab", "attention", "--quick", "--out", str(tmp_path / "out"))

    assert done.status == 1
    assert "pip install 'sirocco[lab]'" in done.err
    assert not (tmp_path / "out").exists()
