"""A whole run, small: it learns, it resumes to the same end, its checkpoint serves."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from sirocco.errors import CheckpointError, ConfigError
from sirocco.model import presets
from sirocco.model.config import ModelConfig
from sirocco.model.random_model import random_model
from sirocco.model.weights import load_model
from sirocco.tokenizer import load_tokenizer
from sirocco.training import run as run_module
from sirocco.training.packing import IGNORED, Batch
from sirocco.training.recipe import Phase, Recipe, Source, load_recipe
from sirocco.training.run import Listener, run_recipe
from sirocco.training.trainer import Progress, attend_within_documents, learning_rate, loss_of

TINY = ModelConfig(
    vocab_size=300, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=48,
    window=16, max_seq_len=256, tie_embeddings=True,
)  # fmt: skip
RECIPE = Recipe(
    name="tiny", preset="tiny", seed=5, seq_len=32, batch_size=4, peak_lr=5e-3, min_lr=1e-3,
    warmup_steps=3, weight_decay=0.1, clip_norm=1.0, held_out=0.2, eval_every=6, save_every=4,
    weights="float16",
    phase=(
        Phase("pretrain", 8, "all", (Source("texts.txt"), Source("rows.jsonl"))),
        Phase("tune", 6, "answers", (Source("rows.jsonl", 2.0),)),
    ),
)  # fmt: skip


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny", TINY)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "texts.txt").write_text("the cat sat on the mat and the dog ran to the cat. " * 40)
    rows = [[("user", f"say {i}"), ("assistant", f"it is {i}")] for i in range(40)]
    as_json = [
        json.dumps({"messages": [{"role": role, "content": text} for role, text in row]})
        for row in rows
    ]
    (folder / "rows.jsonl").write_text("\n".join(as_json))
    return folder


def listen(steps):
    return Listener(said=lambda _: None, stepped=steps.append)


def run(data, out, *, recipe=RECIPE, resume=False, steps=None):
    steps = [] if steps is None else steps
    log = run_recipe(recipe, data, out, resume=resume, device="cpu", listener=listen(steps))
    return log, steps


def test_the_loss_falls_and_the_checkpoint_loads(data, tmp_path):
    log, steps = run(data, tmp_path / "out")

    assert steps[-1].loss < steps[0].loss - 1.0
    assert [s.step for s in steps] == list(range(1, 15))
    assert [(step, phase) for step, phase, _ in log.held_out] == [
        (6, "pretrain"), (8, "pretrain"), (12, "tune"), (14, "tune"),
    ]  # fmt: skip
    assert "held out, tune" in (tmp_path / "out" / "loss.svg").read_text()
    model, tokenizer = load_model(tmp_path / "out"), load_tokenizer(tmp_path / "out")
    assert model.config == TINY
    token_ids = torch.tensor(tokenizer.encode("the cat"))
    assert model(token_ids, torch.arange(len(token_ids))).isfinite().all()


class KilledError(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("killed_after", [5, 9])
def test_a_killed_run_resumes_to_the_same_weights(data, tmp_path, killed_after, optimizer):
    """Killed in either phase, one step after a save: that step is done again, nothing else."""
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer)
    run(data, tmp_path / "whole", recipe=recipe)

    def die(progress):
        if progress.step == killed_after:
            raise KilledError

    with pytest.raises(KilledError):
        run_recipe(
            recipe, data, tmp_path / "broken", resume=False, device="cpu",
            listener=Listener(said=lambda _: None, stepped=die),
        )  # fmt: skip
    log, _ = run(data, tmp_path / "broken", recipe=recipe, resume=True)

    assert log.step == RECIPE.total_steps
    whole, broken = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken")
    )
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_a_run_starts_from_a_checkpoint_of_any_shape(data, tmp_path, monkeypatch):
    first, _ = run(data, tmp_path / "first")
    monkeypatch.setitem(presets.PRESETS, "tiny", dataclasses.replace(TINY, n_layers=3))
    steps: list[Progress] = []

    run_recipe(
        RECIPE, data, tmp_path / "second", resume=False, device="cpu", listener=listen(steps),
        start=tmp_path / "first",
    )  # fmt: skip

    assert load_model(tmp_path / "second").config == TINY
    assert steps[0].loss < first.losses[0][1] - 1.0
    first_tokenizer, second_tokenizer = (
        (tmp_path / name / "tokenizer.json").read_bytes() for name in ("first", "second")
    )
    assert first_tokenizer == second_tokenizer


def test_a_loss_is_the_mean_over_what_counts_alone():
    """Leaving out rows of the head changes no loss and no gradient."""
    model = random_model(TINY, seed=1).requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    token_ids = torch.randint(0, 300, (2, 8), generator=generator)
    targets = torch.where(
        torch.rand(2, 8, generator=generator) < 0.5, token_ids.roll(-1, 1), IGNORED
    )
    documents = torch.ones(2, 8, dtype=torch.long)

    loss = loss_of(model, Batch(token_ids, targets, documents), reduction="mean")

    positions = torch.arange(8).repeat(2)
    logits = model(
        token_ids.flatten(), positions, attend=attend_within_documents(documents, TINY.window)
    )
    expected = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(loss, expected)


def test_an_old_run_is_not_overwritten_without_being_asked(data, tmp_path):
    run(data, tmp_path / "out")

    with pytest.raises(ConfigError, match="add --resume"):
        run(data, tmp_path / "out")


def test_resuming_nothing_is_refused(data, tmp_path):
    with pytest.raises(CheckpointError, match="no run to resume"):
        run(data, tmp_path / "out", resume=True)


def test_resuming_a_run_of_another_shape_is_refused(data, tmp_path, monkeypatch):
    run(data, tmp_path / "out")
    monkeypatch.setitem(presets.PRESETS, "tiny", dataclasses.replace(TINY, n_layers=3))

    with pytest.raises(CheckpointError, match="not a run of this recipe"):
        run(data, tmp_path / "out", resume=True)


@pytest.mark.parametrize("device", ["tpu", "cuda"])
def test_a_device_that_is_not_there_is_refused(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(Exception, match=f"device '{device}'"):
        run_module.check_device(device)


def test_learning_rate_warms_up_then_falls_to_its_floor():
    rates = [learning_rate(RECIPE, step) for step in range(RECIPE.total_steps + 1)]

    assert rates[:3] == pytest.approx([5e-3 / 3, 1e-2 / 3, 5e-3])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(RECIPE.min_lr)


def test_learning_rate_may_stay_at_its_peak_before_it_falls():
    recipe = dataclasses.replace(RECIPE, constant_steps=6)

    rates = [learning_rate(recipe, step) for step in range(recipe.total_steps + 1)]

    assert rates[2:9] == pytest.approx([5e-3] * 7)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(recipe.min_lr)


def test_packed_documents_do_not_see_each_other():
    documents = torch.tensor([[1, 1, 2, 2, 2]])
    attend = attend_within_documents(documents, window=None)
    q, k = torch.randn(5, 4, 8), torch.randn(5, 2, 8)
    v = torch.randn(5, 2, 8)
    before = attend(q, k, v, 0)

    k[:2], v[:2] = 7.0, -7.0

    torch.testing.assert_close(attend(q, k, v, 0)[2:], before[2:])


@pytest.mark.parametrize("name", ["breeze", "breeze-tune", "plain"])
def test_the_recipes_in_the_package_are_whole(name):
    recipe = load_recipe(name)

    assert recipe.total_steps == sum(phase.steps for phase in recipe.phase)
    assert recipe.preset in presets.PRESETS


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("seed = 1", "sed = 1"), "unknown sed"),
        (("seed = 1", ""), "seed"),
        (('loss = "answers"', 'loss = "some"'), "'loss' is 'all' or 'answers'"),
        (('"float16"', '"int3"'), "'weights' is"),
        (("seed = 1", 'seed = 1\noptimizer = "sgd"'), "'optimizer' is adamw or muon, not 'sgd'"),
        (("[[phase]]", "[phase"), "recipe"),
    ],
)
def test_a_bad_recipe_is_refused_by_name(tmp_path, change, sentence):
    from importlib import resources

    text = (resources.files("sirocco.training") / "breeze.toml").read_text()
    (tmp_path / "bad.toml").write_text(text.replace(*change))

    with pytest.raises(ConfigError) as raised:
        load_recipe(str(tmp_path / "bad.toml"))
    assert sentence in str(raised.value)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ConfigError, match="'nosuch' cannot be read"):
        load_recipe("nosuch")
