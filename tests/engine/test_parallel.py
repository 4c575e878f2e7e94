"""One network on several ranks: what each has of it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from sirocco.attention.base import Span
from sirocco.engine.config import EngineConfig
from sirocco.engine.inspection.desk import InspectionDesk
from sirocco.engine.inspection.request import InspectionRequest
from sirocco.engine.parallel import ParallelRunner, check_ranks
from sirocco.engine.process.messages import Forward, ForwardSpan
from sirocco.errors import BackendUnavailable, ConfigError, InvalidInput
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS, Summed
from sirocco.model.parallel import Part, config_of_rank, network_of
from sirocco.model.random_model import random_model
from sirocco.model.weights import load_model, save_model, save_quantized

SHAPE = ModelConfig(
    vocab_size=40, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=64,
    window=12, max_seq_len=64,
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.mark.parametrize("form", ["float32", "bfloat16", "fp8"])
def test_parts_of_a_checkpoint_add_up_to_the_whole(tmp_path, form, monkeypatch):
    """Two ranks in turn: the sum of their parts of a layer is what one network computes."""
    save_model(random_model(SHAPE, seed=2), tmp_path)
    weights = replace(FORMATS[form], is_packed=False)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda part: None)
    parts = [load_model(tmp_path, weights=weights, part=Part(rank, 2)) for rank in (0, 1)]
    whole = load_model(tmp_path, weights=weights)
    x = torch.randn(5, SHAPE.hidden_dim, generator=torch.Generator().manual_seed(1))
    x = x.to(weights.dtype)

    of_parts = sum(
        part.layers[1].feed_forward.w2(piece)  # type: ignore[union-attr,operator]
        for part, piece in zip(parts, x.chunk(2, dim=1), strict=True)
    )

    expected = whole.layers[1].feed_forward.w2(x)  # type: ignore[union-attr,operator]
    most = {"float32": 1e-5, "bfloat16": 0.02, "fp8": 0.06}[form]
    assert (of_parts - expected).norm() < most * expected.norm()
    sizes = [sum(t.nbytes for t in (*m.parameters(), *m.buffers())) for m in (*parts, whole)]
    assert sizes[0] == sizes[1] < 0.8 * sizes[2]


def test_heads_of_a_group_stay_together():
    weight = torch.arange(4 * 8)[:, None].expand(32, 32)  # rows of four heads of queries

    second = Part(1, 2).of("layers.0.attention.wq.weight", weight)

    assert second[:, 0].tolist() == list(range(16, 32))
    assert Part(1, 2).of("layers.0.attention_norm.weight", weight) is weight


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_heads": 3, "n_kv_heads": 3}, "n_heads 3 .* must be a multiple of 2"),
        ({"n_kv_heads": 1}, "n_kv_heads 1 cannot be shared out among 2 GPUs"),
        ({"hidden_dim": 33}, "hidden_dim 33"),
    ],
)
def test_what_cannot_be_divided_is_refused_by_name(change, named):
    with pytest.raises(ConfigError, match=named):
        config_of_rank(replace(SHAPE, **change), 2)


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(BackendUnavailable, match=r"gpus must be at most 1, .* got 2"):
        check_ranks(SHAPE, 2, torch.device("cuda"))


def test_rounded_weights_are_not_cut(tmp_path):
    save_quantized(random_model(SHAPE, weights=FORMATS["q8"]), tmp_path)

    with pytest.raises(ConfigError, match="are rounded and cannot be cut for several GPUs"):
        load_model(tmp_path, weights=FORMATS["q8"], part=Part(0, 2))


def test_a_part_is_not_looked_into_and_promises_no_bits():
    """Other ranks would not compute with it; and they add up in an order of their own."""
    model = network_of(SHAPE, Part(0, 2))
    Part(0, 2).join(model)

    wo: Any = model.get_submodule("layers.0.attention.wo")
    assert isinstance(wo, Summed)
    assert isinstance(wo.part, nn.Linear)
    assert model.is_part
    assert not model.is_batch_invariant
    with pytest.raises(InvalidInput, match="several GPUs"):
        InspectionDesk(model).add(InspectionRequest("r", [1, 2, 3]))


@pytest.fixture
def alone():
    """A group of one rank."""
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_a_pass_that_fails_on_the_first_rank_ends_all(alone, monkeypatch):
    """The others were told of it: they would add their next sums to those of another pass."""
    model = random_model(SHAPE)
    told: list[Forward] = []
    faults: list[str] = []
    config = EngineConfig(attention="sdpa", kv_cache_bytes=2**20, block_size=4)
    runner = ParallelRunner(model, config, told.append, faults.append)
    span = Span(0, 3, [2])

    runner.forward([5, 6, 7], [span], torch.tensor([2]))
    monkeypatch.setattr(model, "logits", lambda x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runner.forward([5, 6, 7], [span])

    assert told == [
        Forward([5, 6, 7], [ForwardSpan(0, 3, [2])], [2]),
        Forward([5, 6, 7], [ForwardSpan(0, 3, [2])], None),
    ]
    assert len(faults) == 1
    assert "ZeroDivisionError" in faults[0]
