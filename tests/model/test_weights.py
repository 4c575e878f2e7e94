"""Reading checkpoints: whole, in shards, in Mistral's layout, and broken in every way."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from sirocco.errors import CheckpointError
from sirocco.model.config import ModelConfig
from sirocco.model.random_model import random_model
from sirocco.model.weights import HF_LAYOUT, MISTRAL_LAYOUT, load_model, save_model

TINY = ModelConfig(
    vocab_size=31, dim=16, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=4, hidden_dim=24, window=8
)
IDS, POSITIONS = torch.arange(11), torch.arange(11)


@pytest.fixture
def model():
    return random_model(TINY, seed=3)


@pytest.fixture
def folder(model, tmp_path):
    save_model(model, tmp_path)
    return tmp_path


def test_loading_needs_none_of_torchs_compiler(folder):
    """In a clean interpreter: the compiler takes seconds and 150 MB, and other tests load it."""
    program = (
        "import sys; from pathlib import Path; from sirocco.model.weights import load_model;"
        "load_model(Path(sys.argv[1])); print(*sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True
    )

    assert not {"torch._dynamo", "torch._inductor", "sympy"} & set(done.stdout.split())


def edit(folder, change):
    """Rewrite the weights after `change` has had its way with the dictionary."""
    file = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file)


@torch.no_grad()
def test_a_saved_model_loads_to_the_same_logits(model, folder):
    torch.testing.assert_close(load_model(folder)(IDS, POSITIONS), model(IDS, POSITIONS))


def test_config_survives_the_round_trip(folder):
    assert ModelConfig.from_folder(folder) == TINY


@torch.no_grad()
def test_shards_with_an_index_load_as_one(model, folder):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[:7], names[7:])):
        file = f"model-{number}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    torch.testing.assert_close(load_model(folder)(IDS, POSITIONS), model(IDS, POSITIONS))


def interleave(weight, n_heads):
    """The inverse of what loading does: half-split pairs become neighbours."""
    rows, dim = weight.shape
    halves = weight.view(n_heads, 2, rows // n_heads // 2, dim)
    return halves.transpose(1, 2).reshape(rows, dim).contiguous()


@torch.no_grad()
def test_mistral_layout_with_interleaved_pairs_loads_to_the_same_logits(model, tmp_path):
    tensors = {}
    for name, parameter in model.named_parameters():
        tensor = parameter
        if name.endswith(("wq.weight", "wk.weight")):
            tensor = interleave(parameter, 4 if "wq" in name else 2)
        tensors[MISTRAL_LAYOUT.name_of(name)] = tensor.contiguous()
    save_file(tensors, tmp_path / "consolidated.safetensors")
    params = {
        "dim": 16, "n_layers": 2, "head_dim": 4, "hidden_dim": 24, "n_heads": 4,
        "n_kv_heads": 2, "norm_eps": 1e-5, "vocab_size": 31, "sliding_window": 8,
    }  # fmt: skip
    (tmp_path / "params.json").write_text(json.dumps(params))

    torch.testing.assert_close(load_model(tmp_path)(IDS, POSITIONS), model(IDS, POSITIONS))


def test_names_are_those_of_both_layouts():
    ours = "layers.3.attention.wq.weight"

    assert HF_LAYOUT.name_of(ours) == "model.layers.3.self_attn.q_proj.weight"
    assert MISTRAL_LAYOUT.name_of(ours) == "layers.3.attention.wq.weight"


def test_bfloat16_files_load_as_the_dtype_asked_for(model, tmp_path):
    save_model(model, tmp_path, dtype=torch.bfloat16)

    loaded = load_model(tmp_path)

    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.norm.weight, model.norm.weight)


def test_rotary_buffers_and_a_tied_head_are_no_fault(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    edit(folder, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": IDS.float()}))

    assert load_model(folder).head is None


def test_every_fault_is_named_in_one_error(folder):
    def spoil(tensors):
        del tensors["model.norm.weight"]
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["model.layers.0.mlp.bias"] = torch.zeros(3)
        tensors["lm_head.weight"] = torch.zeros(30, 16)
        tensors["model.layers.0.input_layernorm.weight"] = torch.zeros(16, dtype=torch.int8)

    edit(folder, spoil)

    with pytest.raises(CheckpointError) as raised:
        load_model(folder)
    for fault in (
        "5 faults",
        "missing model.norm.weight",
        "missing model.layers.1.mlp.up_proj.weight",
        "unexpected model.layers.0.mlp.bias",
        "lm_head.weight is [30, 16], expected [31, 16]",
        "model.layers.0.input_layernorm.weight has dtype I8",
    ):
        assert fault in str(raised.value)


def truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def change_config(**changes):
    def apply(folder):
        raw = json.loads((folder / "config.json").read_text())
        kept = {name: value for name, value in (raw | changes).items() if value is not ...}
        (folder / "config.json").write_text(json.dumps(kept))

    return apply


def escape(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../x"}}')


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncate, "is not a whole safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "is not a whole safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "not a whole safetensors"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "must hold an object"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "cannot be read as JSON"),
        (change_config(model_type="gpt2"), "model_type 'gpt2' is not one of mistral, llama"),
        (change_config(hidden_act="gelu"), "hidden_act 'gelu'"),
        (change_config(attention_bias=True), "attention_bias is not supported"),
        (change_config(rope_scaling={"rope_type": "yarn"}), "rope_type 'yarn'"),
        (change_config(hidden_size=...), "has no 'hidden_size'"),
        (change_config(num_key_value_heads=3), "n_kv_heads 3 must divide n_heads 4"),
        (change_config(vocab_size="many"), "vocab_size must be a positive integer"),
        (escape, "names '../../x', which is not a file of the folder"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b"}}'),
            "names b, which is not there",
        ),
        (lambda f: (f / "model.safetensors.index.json").write_text("{}"), "is not an index"),
    ],
)
def test_a_broken_folder_is_refused_in_one_sentence(folder, damage, sentence):
    damage(folder)

    with pytest.raises(CheckpointError, match=r"^[^\n]+$") as raised:
        load_model(folder)
    assert sentence in str(raised.value)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is not a folder"):
        load_model(tmp_path / "absent")


def test_all_end_tokens_of_generation_config_are_read(folder):
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 5, 7]}')

    assert load_model(folder).config.eos_token_ids == (2, 5, 7)


def test_loading_tells_how_far_it_is(folder):
    seen = []

    load_model(folder, on_progress=lambda done, total: seen.append((done, total)))

    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1] == 4 * TINY.n_parameters
    assert len({total for _, total in seen}) == 1
