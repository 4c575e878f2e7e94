"""`sirocco quantize`: a float checkpoint in, a small one out."""

import json

import pytest

from sirocco import LLM
from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog


@pytest.fixture
def embedded(tmp_path):
    return Catalog(tmp_path).find(EMBEDDED_MODEL_ID).folder


@pytest.mark.parametrize("weights", ["q4", "q8"])
def test_the_embedded_model_still_answers_in_few_bits(sirocco, tmp_path, embedded, weights):
    done = sirocco("quantize", str(embedded), str(tmp_path / "out"), "--weights", weights, "--json")

    result = json.loads(done.out)
    assert result["bytes"] == (tmp_path / "out" / "model.safetensors").stat().st_size
    assert result["bytes"] < (embedded / "model.safetensors").stat().st_size * 0.6
    answer = LLM(tmp_path / "out").chat([{"role": "user", "content": "Hello"}])
    assert answer.text


def test_a_folder_that_is_not_empty_is_refused(sirocco, tmp_path, embedded):
    (tmp_path / "mine.txt").write_text("dear")

    done = sirocco("quantize", str(embedded), str(tmp_path))

    assert done.status == 1
    assert "is not empty" in done.err
    assert (tmp_path / "mine.txt").read_text() == "dear"


def test_a_format_that_is_none_is_refused(sirocco, tmp_path, embedded):
    done = sirocco("quantize", str(embedded), str(tmp_path / "out"), "--weights", "q5")

    assert done.status == 1
    assert "q4 or q8, got 'q5'" in done.err


def test_a_folder_that_is_no_checkpoint_is_refused(sirocco, tmp_path):
    (tmp_path / "in").mkdir()

    done = sirocco("quantize", str(tmp_path / "in"), str(tmp_path / "out"))

    assert done.status == 1
    assert "is not a checkpoint" in done.err
