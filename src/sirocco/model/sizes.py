"""How many bytes a network's weights take on a GPU, before any of them is read."""

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import nn

from sirocco.model.config import ModelConfig
from sirocco.model.linear import WeightFormat
from sirocco.model.scaled import INT4_GROUP
from sirocco.model.streaming import AHEAD_BYTES
from sirocco.model.transformer import Transformer


def weight_bytes(config: ModelConfig, form: WeightFormat) -> int:
    """Bytes of all weights, as `place` keeps them on a GPU in this format."""
    return sum(size.n_times * size.n_bytes for size in _sizes(config, form))


def loading_bytes(config: ModelConfig, form: WeightFormat) -> int:
    """Bytes that loading takes beside all weights, at the largest matrix."""
    largest = max(size.n_weights for size in _sizes(config, form))
    # Rounding keeps a matrix as it was stored, in float32, and two more of its size; joining keeps
    # two of the gate's beside their join. The next tensors are on their way meanwhile.
    return AHEAD_BYTES + largest * (16 if form.scaled_bits is not None else 2 * form.dtype.itemsize)


@dataclass(frozen=True, slots=True)
class _Size:
    """Of a parameter, which is there so many times."""

    n_times: int
    n_weights: int
    n_bytes: int


@cache
def _sizes(config: ModelConfig, form: WeightFormat) -> tuple[_Size, ...]:
    with torch.device("meta"):
        model = Transformer(replace(config, n_layers=1))  # all layers are alike
    return tuple(
        _Size(
            config.n_layers if name.startswith("layers.") else 1,
            parameter.numel(), _bytes_of(model, name, parameter, form),
        )
        for name, parameter in model.named_parameters()
    )  # fmt: skip


def _bytes_of(model: Transformer, name: str, parameter: nn.Parameter, form: WeightFormat) -> int:
    is_linear = isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Linear)
    if not is_linear or not form.scales(name, parameter.shape):
        return parameter.numel() * form.dtype.itemsize
    n_rows, n_columns = parameter.shape
    if form.scaled_bits == 8:
        return n_rows * (n_columns + torch.float32.itemsize)
    pairs_bytes = 2 * n_columns // INT4_GROUP * torch.bfloat16.itemsize
    return n_rows * (n_columns // 2 + pairs_bytes)
