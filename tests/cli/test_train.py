"""`sirocco train`: a tiny recipe from its texts to its checkpoint."""

import json

import pytest
import torch

from sirocco.model import presets
from sirocco.model.config import ModelConfig
from sirocco.tokenizer import load_tokenizer

TINY = ModelConfig(
    vocab_size=300, dim=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, hidden_dim=24,
    window=16, max_seq_len=64, tie_embeddings=True,
)  # fmt: skip
RECIPE = """
name = "tiny"
preset = "tiny"
seed = 5
seq_len = 16
batch_size = 2
peak_lr = 5e-3
min_lr = 1e-3
warmup_steps = 2
weight_decay = 0.1
clip_norm = 1.0
held_out = 0.3
eval_every = 100
save_every = 100
weights = "float32"

[[phase]]
name = "pretrain"
steps = 3
loss = "all"
source = [{ path = "rows.jsonl" }]

[[phase]]
name = "tune"
steps = 2
loss = "answers"
source = [{ path = "rows.jsonl" }]
"""


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny", TINY)
    torch.set_num_threads(1)


@pytest.fixture
def options(tmp_path):
    """Write a recipe and its texts; give the options that name them."""
    data = tmp_path / "data"
    data.mkdir()
    rows = [
        {"messages": [{"role": "user", "content": f"say {i}"},
                      {"role": "assistant", "content": f"it is {i}"}]}
        for i in range(40)
    ]  # fmt: skip
    (data / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return {
        "--data": str(data), "--out": str(tmp_path / "out"),
        "--recipe": str(tmp_path / "tiny.toml"),
    }  # fmt: skip


@pytest.fixture
def train(sirocco, options):
    def run(*more, **changed):
        given = options | {f"--{name}": value for name, value in changed.items()}
        return sirocco("train", *(word for pair in given.items() for word in pair), *more)

    return run


def test_as_json_the_result_is_one_line_and_nothing_else(train, options):
    done = train("--json")

    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    assert list(result) == [
        "recipe", "steps", "train_s", "tokens", "held_out_loss", "checkpoint",
    ]  # fmt: skip
    assert (result["recipe"], result["steps"], result["tokens"]) == ("tiny", 5, 5 * 2 * 16)
    assert result["checkpoint"] == options["--out"]
    assert result["train_s"] >= 0
    assert result["held_out_loss"].keys() == {"pretrain", "tune"}
    assert all(0 < loss < 10 for loss in result["held_out_loss"].values())


def test_a_person_is_told_the_result_and_where_the_checkpoint_is(train, options):
    done = train()

    assert done.status == 0
    assert done.out.startswith("5 steps in 0.0 minutes; held-out loss: pretrain ")
    out = options["--out"]
    assert done.out.endswith(
        f"The checkpoint is in {out}, its losses are drawn in {out}/loss.svg\n"
    )
    assert "learning the vocabulary" in done.err


def test_without_held_out_texts_no_loss_is_made_up(train, options, tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("held_out = 0.3", "held_out = 0.0"))

    assert "held-out loss: not measured" in train().out


def test_a_finished_run_resumes_to_the_same_result(train):
    first = json.loads(train("--json").out)

    again = json.loads(train("--json", "--resume").out)

    assert again == first


def test_a_finished_run_is_not_overwritten(train, options):
    train("--json")

    done = train("--json")

    assert (done.status, done.out) == (1, "")
    assert done.err == (
        f"sirocco: {options['--out']} holds a run already: add --resume to go on, or name another\n"
    )


def test_the_checkpoint_holds_a_tokenizer(train, tmp_path):
    train("--json")

    assert load_tokenizer(tmp_path / "out").vocab_size <= TINY.vocab_size


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"recipe": "nosuch"}, "recipe 'nosuch' cannot be read: "),
        ({"device": "tpu"}, "device 'tpu' is not cpu or cuda"),
        ({"data": "/nowhere"}, "/nowhere/rows.jsonl cannot be read: "),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_sentence(train, changed, sentence):
    done = train("--json", **changed)

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"sirocco: {sentence}")
    assert done.err.count("\n") == 1


def test_an_out_that_is_a_file_is_a_wrong_command_line(train, tmp_path):
    done = train("--json", out=str(tmp_path / "tiny.toml"))

    assert (done.status, done.out) == (2, "")
    assert "--out" in done.err


def test_a_run_starts_from_a_checkpoint(train, options, tmp_path):
    first = json.loads(train("--json").out)

    again = json.loads(train("--json", out=str(tmp_path / "again"), start=options["--out"]).out)

    assert again["held_out_loss"]["pretrain"] < first["held_out_loss"]["pretrain"]


def test_a_start_that_is_not_there_is_a_wrong_command_line(train):
    done = train("--json", start="/nowhere")

    assert (done.status, done.out) == (2, "")
    assert "--start" in done.err


@pytest.mark.parametrize("missing", ["--data", "--out"])
def test_data_and_out_must_be_named(sirocco, options, missing):
    del options[missing]

    done = sirocco("train", *(word for pair in options.items() for word in pair))

    assert done.status == 2
    assert missing in done.err
