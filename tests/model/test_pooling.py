"""Mean-pooling of KV heads, against loops over heads that are written out."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from sirocco.errors import CheckpointError, ConfigError
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS
from sirocco.model.pooling import pool_checkpoint, pool_heads
from sirocco.model.random_model import random_model
from sirocco.model.weights import load_model, save_model, save_quantized

SHAPE = ModelConfig(
    vocab_size=64, dim=48, n_layers=2, n_heads=12, n_kv_heads=12, head_dim=8, hidden_dim=64
)


@pytest.fixture
def mha(tmp_path):
    """A checkpoint with multi-head attention."""
    save_model(random_model(SHAPE, seed=3), tmp_path / "mha")
    return tmp_path / "mha"


def logits(folder):
    """By our own kernels, in which a number's bits do not depend on what stands beside it."""
    token_ids = torch.arange(1, 20)
    with torch.inference_mode():
        return load_model(folder, weights=FORMATS["float32"])(token_ids, torch.arange(19))


@pytest.mark.parametrize("n_pooled", [6, 4, 3, 2, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_pooled_head_is_the_mean_of_its_neighbours(n_pooled, dtype):
    weight = torch.randn(12 * 8, 48).to(dtype)

    pooled = pool_heads(weight, 12, n_pooled)

    heads = [weight[h * 8 : (h + 1) * 8].double() for h in range(12)]
    size = 12 // n_pooled
    means = [sum(heads[i * size : (i + 1) * size]) / size for i in range(n_pooled)]
    assert torch.equal(pooled, torch.cat(means).to(dtype))


@pytest.mark.parametrize("n_pooled", [6, 4, 3, 2, 1])
def test_pooling_equal_heads_changes_no_logit(mha, tmp_path, n_pooled):
    """Not in one bit, in three sizes of group that are no powers of two as well."""
    tensors = load_file(mha / "model.safetensors")
    for name, tensor in tensors.items():
        if "k_proj" in name or "v_proj" in name:
            heads = tensor.view(n_pooled, 12 // n_pooled, 8, 48)
            tensors[name] = heads[:, :1].expand_as(heads).reshape(96, 48).contiguous()
    save_file(tensors, mha / "model.safetensors")

    shape = pool_checkpoint(mha, tmp_path / "out", n_pooled)

    assert shape == replace(SHAPE, n_kv_heads=n_pooled)
    assert torch.equal(logits(tmp_path / "out"), logits(mha))


def test_only_keys_and_values_change(mha, tmp_path):
    pool_checkpoint(mha, tmp_path / "out", 3)

    before = load_file(mha / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        f"model.layers.{i}.self_attn.{p}_proj.weight" for i in (0, 1) for p in ("k", "v")
    }


def test_transformers_reads_the_pooled_checkpoint_as_we_do(mha, tmp_path):
    from transformers import LlamaForCausalLM

    pool_checkpoint(mha, tmp_path / "out", 4)

    theirs = LlamaForCausalLM.from_pretrained(tmp_path / "out", attn_implementation="eager")
    with torch.no_grad():
        expected = theirs(torch.arange(1, 20)[None]).logits[0]
    torch.testing.assert_close(logits(tmp_path / "out"), expected, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_several_files_keeps_them_and_its_own_keys(mha, tmp_path):
    tensors = load_file(mha / "model.safetensors")
    (mha / "model.safetensors").unlink()
    files = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({n: t.half() for n, t in tensors.items() if files[n] == file}, mha / file)
    index = {"metadata": {"total_size": 1, "theirs": "kept"}, "weight_map": files}
    (mha / "model.safetensors.index.json").write_text(json.dumps(index))
    raw = json.loads((mha / "config.json").read_text())
    (mha / "config.json").write_text(json.dumps(raw | {"of_their_own": [1]}))

    pool_checkpoint(mha, tmp_path / "out", 1)

    written = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    stored = [t for f in set(files.values()) for t in load_file(tmp_path / "out" / f).values()]
    assert written["weight_map"] == files
    assert written["metadata"] == {
        "total_size": sum(tensor.nbytes for tensor in stored), "theirs": "kept"
    }  # fmt: skip
    assert {tensor.dtype for tensor in stored} == {torch.float16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["of_their_own"] == [1]
    assert load_model(tmp_path / "out").config.n_kv_heads == 1


def test_mistrals_own_layout_is_pooled_too(mha, tmp_path):
    from sirocco.model.weights import HF_LAYOUT, MISTRAL_LAYOUT

    model = random_model(SHAPE, seed=3)
    tensors = {MISTRAL_LAYOUT.name_of(n): p for n, p in model.named_parameters()}
    folder = tmp_path / "mistral"
    folder.mkdir()
    save_file(tensors, folder / "consolidated.safetensors")
    (folder / "params.json").write_text(
        json.dumps({
            "vocab_size": 64, "dim": 48, "n_layers": 2, "n_heads": 12, "head_dim": 8,
            "hidden_dim": 64,
        })
    )  # fmt: skip

    pool_checkpoint(folder, tmp_path / "out", 2)
    pool_checkpoint(mha, tmp_path / "hf", 2)

    theirs = load_file(tmp_path / "out" / "consolidated.safetensors")
    ours = load_file(tmp_path / "hf" / "model.safetensors")
    name = "layers.1.attention.wk.weight"
    assert torch.equal(theirs[MISTRAL_LAYOUT.name_of(name)], ours[HF_LAYOUT.name_of(name)])
    assert load_model(tmp_path / "out").config.n_kv_heads == 2


@pytest.mark.parametrize("n_kv_heads", [0, -1, 5, 12, 24])
def test_a_count_that_cannot_be_is_refused_before_anything_is_written(mha, tmp_path, n_kv_heads):
    with pytest.raises(ConfigError, match=rf"12 \(1, 2, 3, 4, 6\), got {n_kv_heads}"):
        pool_checkpoint(mha, tmp_path / "out", n_kv_heads)

    assert not (tmp_path / "out").exists()


def test_a_single_kv_head_cannot_be_pooled(mha, tmp_path):
    pool_checkpoint(mha, tmp_path / "mqa", 1)

    with pytest.raises(ConfigError, match="it has a single KV head"):
        pool_checkpoint(tmp_path / "mqa", tmp_path / "out", 1)


def test_a_quantised_checkpoint_is_refused(tmp_path):
    shape = replace(SHAPE, dim=64, head_dim=16)
    save_quantized(random_model(shape, weights=FORMATS["q8"]), tmp_path / "q8")

    with pytest.raises(CheckpointError, match="is quantised"):
        pool_checkpoint(tmp_path / "q8", tmp_path / "out", 1)


def test_weights_that_do_not_match_their_config_are_refused(mha, tmp_path):
    tensors = load_file(mha / "model.safetensors")
    name = "model.layers.0.self_attn.k_proj.weight"
    save_file(tensors | {name: tensors[name][:-8].contiguous()}, mha / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"k_proj.weight is \[88, 48\], expected \[96, 48\]"):
        pool_checkpoint(mha, tmp_path / "out", 2)
