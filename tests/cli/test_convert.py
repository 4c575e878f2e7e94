"""`sirocco convert`: a checkpoint in, one with fewer KV heads out."""

import json

import pytest

from sirocco import LLM
from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.model.config import ModelConfig


@pytest.fixture
def embedded(tmp_path):
    return Catalog(tmp_path).find(EMBEDDED_MODEL_ID).folder


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    line = "Once upon a time number {} a wind blew over the hills and sang to the trees.\n"
    (folder / "story.txt").write_text("".join(line.format(i) for i in range(4000)))
    return folder


def test_the_embedded_model_becomes_multi_query_and_still_loads(sirocco, tmp_path, embedded):
    done = sirocco("convert", str(embedded), str(tmp_path / "out"), "--n-kv-heads", "1", "--json")

    assert done.status == 0, done.err
    assert json.loads(done.out) == {"checkpoint": str(tmp_path / "out"), "n_kv_heads": 1}
    llm = LLM(tmp_path / "out")
    assert llm.engine.model.config.n_kv_heads == 1
    assert llm.generate("Hello").pop().token_ids


def test_up_training_makes_good_for_the_pooling(sirocco, tmp_path, embedded, texts):
    done = sirocco(
        "convert", str(embedded), str(tmp_path / "out"), "--n-kv-heads", "1",
        "--up-train", str(texts), "--steps", "2", "--json",
    )  # fmt: skip

    result = json.loads(done.out)
    assert result["steps"] == 2
    assert result["loss_after"] < result["loss_before"]
    assert ModelConfig.from_folder(tmp_path / "out").n_kv_heads == 1
    assert (tmp_path / "out" / "tokenizer.json").exists()
    before = (embedded / "model.safetensors").stat().st_size
    assert (tmp_path / "out" / "model.safetensors").stat().st_size < before  # still float16


@pytest.mark.parametrize("option", [("--steps", "3"), ("--up-train", ".")])
def test_half_of_up_training_is_refused(sirocco, tmp_path, embedded, option):
    done = sirocco("convert", str(embedded), str(tmp_path / "o"), "--n-kv-heads", "1", *option)

    assert done.status == 1
    assert "--up-train and --steps belong together" in done.err


def test_a_count_that_divides_nothing_is_refused(sirocco, tmp_path, embedded):
    done = sirocco("convert", str(embedded), str(tmp_path / "out"), "--n-kv-heads", "3")

    assert done.status == 1
    assert "n_kv_heads must be a smaller divisor of the checkpoint's" in done.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_refused(sirocco, tmp_path, embedded):
    (tmp_path / "mine.txt").write_text("dear")

    done = sirocco("convert", str(embedded), str(tmp_path), "--n-kv-heads", "1")

    assert done.status == 1
    assert "is not empty" in done.err
