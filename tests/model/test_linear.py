"""Networks with native weights: close to their floats, the same in any company, and saved."""

import dataclasses
import json
import re
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from sirocco import LLM, SamplingParams
from sirocco.attention.base import RunsLayers, Span
from sirocco.errors import CheckpointError, ConfigError
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS, rounded_matrix
from sirocco.model.presets import preset
from sirocco.model.random_model import random_model
from sirocco.model.weights import bits_of_checkpoint, load_model, save_model, save_quantized
from sirocco.native.linear import QuantizedMatrix

IDS, POSITIONS = torch.arange(3, 33), torch.arange(30)
TINY = ModelConfig(
    vocab_size=300, dim=64, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=96,
    window=16, max_seq_len=256,
)  # fmt: skip


def lively(config, seed=1):
    """A float network whose logits differ from token to token."""
    model = random_model(config, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0)
    return model


@pytest.fixture
def folder(tmp_path):
    save_model(lively(TINY), tmp_path / "float")
    return tmp_path / "float"


def logits(model):
    return model(IDS, POSITIONS)


@pytest.mark.parametrize(("name", "limit"), [("q8", 0.03), ("q4", 0.3)])
@pytest.mark.parametrize("tied", [False, True])
def test_rounded_weights_give_nearly_the_same_logits(tmp_path, name, limit, tied):
    save_model(lively(dataclasses.replace(TINY, tie_embeddings=tied)), tmp_path)
    exact = logits(load_model(tmp_path))

    rounded = logits(load_model(tmp_path, weights=FORMATS[name]))

    assert (rounded - exact).norm() < limit * exact.norm()


@pytest.mark.parametrize("name", ["q8", "q4"])
def test_a_saved_network_is_the_same_network(folder, tmp_path, name):
    model = load_model(folder, weights=FORMATS[name])
    save_quantized(model, tmp_path / "out")

    again = load_model(tmp_path / "out", weights=FORMATS[name])

    assert torch.equal(logits(again), logits(model))
    assert bits_of_checkpoint(tmp_path / "out") == FORMATS[name].bits
    assert again.config == model.config


@pytest.mark.parametrize(("name", "bits"), [("q8", 8.5), ("q4", 4.5)])
def test_a_saved_network_is_as_small_as_its_bits(tmp_path, name, bits):
    config = preset("breeze")
    save_quantized(random_model(config, weights=FORMATS[name]), tmp_path)

    n_bytes = (tmp_path / "model.safetensors").stat().st_size

    assert n_bytes < 1.02 * config.n_parameters * bits / 8


def test_a_matrix_whose_rows_are_no_multiple_of_32_stays_float(tmp_path):
    odd = dataclasses.replace(TINY, hidden_dim=50)
    model = random_model(odd, weights=FORMATS["q4"])
    save_quantized(model, tmp_path)

    again = load_model(tmp_path, weights=FORMATS["q4"])

    assert isinstance(rounded_matrix(again, "layers.0.feed_forward.w1.weight"), QuantizedMatrix)
    assert rounded_matrix(again, "layers.0.feed_forward.w2.weight") is None
    assert again.is_batch_invariant
    assert torch.equal(logits(again), logits(model))


def test_a_rounded_checkpoint_is_not_rounded_again(folder, tmp_path):
    save_quantized(load_model(folder, weights=FORMATS["q8"]), tmp_path / "out")

    with pytest.raises(ConfigError, match=r"weights must be q8, as .* has them, not q4"):
        load_model(tmp_path / "out", weights=FORMATS["q4"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("lm_head.weight.tiles"), "missing lm_head.weight.tiles"),
        (lambda t: t.update({"x": torch.zeros(2)}), "unexpected x"),
        (
            lambda t: t.update({"lm_head.weight.scales": torch.zeros(2, 2, 16).half()}),
            "lm_head.weight.scales is [2, 2, 16], expected [19, 2, 16]",
        ),
        (
            lambda t: t.update({"lm_head.weight.tiles": torch.zeros(19, 2, 256).half()}),
            "lm_head.weight.tiles has dtype F16, expected U8",
        ),
    ],
)
def test_a_damaged_rounded_checkpoint_is_refused_by_name(folder, tmp_path, change, named):
    save_quantized(load_model(folder, weights=FORMATS["q4"]), tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file)

    with pytest.raises(CheckpointError, match=re.escape(named)):
        load_model(tmp_path / "out", weights=FORMATS["q4"])


@pytest.mark.parametrize(
    "quantization",
    [{"quant_method": "gptq", "bits": 4}, {"quant_method": "sirocco", "bits": 3}, "q4"],
)
def test_a_foreign_way_to_quantise_is_refused(folder, quantization):
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"quantization_config": quantization}))

    with pytest.raises(CheckpointError, match="quant"):
        load_model(folder, weights=FORMATS["q4"])


@pytest.mark.parametrize("weights", ["float32", "q8", "q4"])
def test_all_layers_in_one_call_have_the_bits_of_their_kernels_one_by_one(weights):
    llm = LLM.random("breeze", seed=3, weights=weights, max_seq_len=64)
    runner, blocks = llm.engine.runner, llm.engine.scheduler.blocks
    table = blocks.open()
    blocks.grow(table, 40)
    attend = runner.backend.bind(runner.backend.plan([Span(0, 40, table.block_ids)]))
    token_ids, positions = torch.arange(3, 43), torch.arange(40)

    with torch.inference_mode():
        assert isinstance(attend, RunsLayers)
        fused = llm.engine.model(token_ids, positions, attend=attend)
        one_by_one = llm.engine.model(token_ids, positions, attend=partial(attend))

    assert torch.equal(fused, one_by_one)


def logits_in_chunks(llm, prompts, chunk_sizes):
    """Run prompts side by side, so many tokens of each in every step; logits of each prompt."""
    runner, blocks = llm.engine.runner, llm.engine.scheduler.blocks
    tables = [blocks.open() for _ in prompts]
    logits: list[list[torch.Tensor]] = [[] for _ in prompts]
    firsts = [0] * len(prompts)
    for size in chunk_sizes:
        spans, token_ids, owners = [], [], []
        for i, prompt in enumerate(prompts):
            chunk = prompt[firsts[i] : firsts[i] + size]
            if chunk:
                blocks.grow(tables[i], firsts[i] + len(chunk))
                spans.append(Span(firsts[i], len(chunk), tables[i].block_ids))
                token_ids += chunk
                owners.append(i)
                firsts[i] += len(chunk)
        parts = runner.forward(token_ids, spans).split([span.n_tokens for span in spans])
        for i, part in zip(owners, parts, strict=True):
            logits[i].append(part)
    for table in tables:
        blocks.close(table)
    return [torch.cat(parts) for parts in logits]


@pytest.mark.parametrize("weights", ["float32", "q8", "q4"])
def test_logits_have_the_same_bits_whole_in_chunks_and_in_company(weights):
    llm = LLM.random("breeze", seed=4, weights=weights, max_seq_len=128)
    prompts = [list(range(3, 60)), [9] * 40, [5, 6, 7]]

    alone = [logits_in_chunks(llm, [prompt], [64])[0] for prompt in prompts]

    assert llm.engine.model.is_batch_invariant
    for chunk_sizes in ([64], [1] * 57, [7, 20, 1, 40]):
        together = logits_in_chunks(llm, prompts, chunk_sizes)
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("tied", [False, True])
def test_packed_weights_give_the_logits_of_torchs_layers(tmp_path, tied):
    save_model(lively(dataclasses.replace(TINY, tie_embeddings=tied)), tmp_path)
    plain = load_model(tmp_path)

    packed = load_model(tmp_path, weights=FORMATS["float32"])

    torch.testing.assert_close(logits(packed), logits(plain), atol=1e-5, rtol=1e-5)
    assert packed.is_batch_invariant
    assert not plain.is_batch_invariant
    assert not packed.rounds_weights
    assert not list(packed.embedding.parameters()), "one copy: that in panels"


def test_packed_weights_are_saved_as_they_were(folder, tmp_path):
    save_model(load_model(folder, weights=FORMATS["float32"]), tmp_path / "out")

    before, after = (load_file(f / "model.safetensors") for f in (folder, tmp_path / "out"))

    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("weights", ["float32", "q8", "q4"])
def test_answers_do_not_depend_on_mates_chunks_or_threads(weights):
    """Bit for bit: what is promised for the CPU kernels, through the whole network."""
    from sirocco import native

    sampling = SamplingParams(temperature=1.0, seed=7, max_tokens=12, ignore_eos=True)
    prompts = [[5, 6, 7], list(range(3, 90)), [9] * 40]
    before = native.n_threads()
    answers = []
    for n_threads in (1, 2, 3):
        native.set_n_threads(n_threads)
        llm = LLM.random("breeze", seed=2, weights=weights, max_seq_len=256)
        answers += [[llm.generate(p, sampling)[0].token_ids for p in prompts]]
        answers += [[o.token_ids for o in llm.generate(prompts, sampling)]]
    native.set_n_threads(before)

    assert all(answer == answers[0] for answer in answers)
