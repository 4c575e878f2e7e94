"""The network, against the classes of Hugging Face transformers on random checkpoints."""

import itertools
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from sirocco.attention.dense import dense_attention
from sirocco.kvcache.format import FLOAT16
from sirocco.model.linear import FORMATS, PLAIN
from sirocco.model.presets import PRESETS, preset
from sirocco.model.random_model import random_model
from sirocco.model.weights import load_model

N_HEADS = 8
SHAPE: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": N_HEADS,
    "intermediate_size": 112, "max_position_embeddings": 512, "initializer_range": 0.3,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
TOLERANCE: dict[str, Any] = {"atol": 1e-4, "rtol": 0.0}  # float32; the order of sums differs


def hf_model(family, seed=0, **options):
    """A random checkpoint of transformers, with weights large enough that attention matters."""
    torch.manual_seed(seed)
    if family == "mistral":
        config = MistralConfig(**SHAPE, **options)
        config._attn_implementation = "eager"
        return MistralForCausalLM(config).eval()
    options.pop("sliding_window", None)
    config = LlamaConfig(**SHAPE, **options)
    config._attn_implementation = "eager"
    return LlamaForCausalLM(config).eval()


def ours(hf, tmp_path, weights=PLAIN):
    hf.save_pretrained(tmp_path)
    return load_model(tmp_path, weights=weights)


@torch.no_grad()
def hf_logits(hf, token_ids):
    return hf(torch.tensor([token_ids])).logits[0]


def random_ids(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, SHAPE["vocab_size"], (length,), generator=generator).tolist()


CASES = list(itertools.product(
    ["mistral", "llama"], [N_HEADS, 2, 1], [None, 5, 64], [False, True]
))  # fmt: skip


@pytest.mark.parametrize(
    ("family", "n_kv_heads", "window", "tied"),
    [case for case in CASES if case[0] == "mistral" or case[2] is None],
)
@torch.no_grad()
def test_logits_equal_transformers(family, n_kv_heads, window, tied, tmp_path):
    """MHA, GQA, MQA × no window, smaller and larger than the prompt × tied or not."""
    hf = hf_model(
        family, num_key_value_heads=n_kv_heads, sliding_window=window, tie_word_embeddings=tied
    )
    token_ids = random_ids(29)

    for weights in (PLAIN, FORMATS["float32"]):
        actual = ours(hf, tmp_path, weights)(torch.tensor(token_ids), torch.arange(29))

        torch.testing.assert_close(actual, hf_logits(hf, token_ids), **TOLERANCE)


@pytest.mark.parametrize("n_kv_heads", [N_HEADS, 2, 1])
@torch.no_grad()
def test_ragged_sequences_end_to_end_equal_each_alone(n_kv_heads, tmp_path):
    """A step mixes sequences of several lengths; only `attend` knows where each begins."""
    hf = hf_model("mistral", num_key_value_heads=n_kv_heads, sliding_window=6)
    prompts = [random_ids(length, seed=length) for length in (3, 17, 1, 8)]
    lengths = [len(prompt) for prompt in prompts]

    def attend(q, k, v, layer):
        parts = zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
        return torch.cat([dense_attention(*part, window=6) for part in parts])

    flat = torch.tensor([t for prompt in prompts for t in prompt])
    positions = torch.cat([torch.arange(length) for length in lengths])
    actual = ours(hf, tmp_path)(flat, positions, attend=attend)

    expected = torch.cat([hf_logits(hf, prompt) for prompt in prompts])
    torch.testing.assert_close(actual, expected, **TOLERANCE)


@torch.no_grad()
def test_llama_3_rope_scaling_equals_transformers(tmp_path):
    scaling = {
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
    }  # fmt: skip
    hf = hf_model("llama", num_key_value_heads=2, rope_parameters=scaling)
    token_ids = random_ids(200)

    actual = ours(hf, tmp_path)(torch.tensor(token_ids), torch.arange(200))

    torch.testing.assert_close(actual, hf_logits(hf, token_ids), **TOLERANCE)


@torch.no_grad()
def test_only_the_rows_asked_for_get_logits():
    model = random_model(preset("breeze"))
    token_ids, positions = torch.arange(9), torch.arange(9)

    some = model(token_ids, positions, rows=torch.tensor([8, 2]))

    torch.testing.assert_close(some, model(token_ids, positions)[[8, 2]])


@pytest.mark.parametrize(
    ("name", "n_billion", "kv_bytes"),
    [
        ("mistral-7b", 7.242, 131_072),
        ("mistral-7b-v0.2", 7.242, 131_072),
        ("llama-2-7b", 6.738, 524_288),
        ("llama-2-13b", 13.016, 819_200),
        ("codellama-7b", 6.739, 524_288),
        ("tinyllama-1.1b", 1.100, 22_528),
        ("llama-3.1-8b", 8.030, 131_072),
    ],
)
def test_presets_have_the_published_sizes(name, n_billion, kv_bytes):
    """Parameters as published; KV bytes per token at 16 bits."""
    config = preset(name)

    assert round(config.n_parameters / 1e9, 3) == n_billion
    assert FLOAT16.bytes_per_token(config) == kv_bytes


def test_parameter_count_is_that_of_the_built_network():
    config = PRESETS["breeze"]

    model = random_model(config)

    assert sum(p.numel() for p in model.parameters()) == config.n_parameters


def test_the_same_seed_gives_the_same_random_model():
    one, same, other = (random_model(preset("breeze"), seed=s).norm for s in (1, 1, 2))

    assert torch.equal(one.weight, same.weight)
    first, second, third = (
        random_model(preset("breeze"), seed=s).embedding.weight for s in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert other is not one
