"""Linear layers and embeddings of every weight format: float32, bfloat16, q8 and q4."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sirocco.native.linear import (
    GROUP,
    TILE_ROWS,
    QuantizedMatrix,
    add_linear,
    dequantize,
    linear,
    quantize,
    tile_shapes,
)


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How weights are kept in memory.

    Attributes:
        name: as users write it.
        dtype: of activations, and of the weights that are not rounded.
        bits: of a rounded weight, besides half a bit for its group's scale; None rounds nothing.
    """

    name: str
    dtype: torch.dtype
    bits: int | None = None

    @property
    def bits_per_weight(self) -> float:
        """Bits that a weight takes, its share of a scale included."""
        return self.bits + 16 / GROUP if self.bits is not None else 8 * self.dtype.itemsize

    def rounds(self, n_columns: int) -> bool:
        """Tell whether a matrix with rows of this length is rounded."""
        return self.bits is not None and n_columns % GROUP == 0


FORMATS = {
    "float32": WeightFormat("float32", torch.float32),
    "bfloat16": WeightFormat("bfloat16", torch.bfloat16),
    "q8": WeightFormat("q8", torch.float32, bits=8),
    "q4": WeightFormat("q4", torch.float32, bits=4),
}


class _Quantized(nn.Module):
    """A matrix [N, K] of 4 or 8 bits, which has no gradient and stays on the CPU."""

    def __init__(self, matrix: QuantizedMatrix) -> None:
        super().__init__()
        self.matrix = matrix

    @property
    def bits(self) -> int:
        """Of a weight: 4 or 8."""
        return self.matrix.tiles.shape[2] * 8 // (TILE_ROWS * GROUP)


class QuantizedLinear(_Quantized):
    """x Wᵀ, with x rounded to 8 bits in groups of 32."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, K] float32 → [T, N]."""
        return linear(x.contiguous(), [self.matrix])[0]


class Embedding(nn.Embedding):
    """Rows by token id; with a tied head the same rows score what comes next."""

    def score(self, x: Tensor) -> Tensor:
        """Multiply with every row: x [T, K] → [T, N]."""
        return F.linear(x, self.weight)


class QuantizedEmbedding(_Quantized):
    """`Embedding` of 4 or 8 bits."""

    def forward(self, token_ids: Tensor) -> Tensor:
        """token_ids: [T] int64 → [T, K] float32."""
        return dequantize(self.matrix, token_ids)

    def score(self, x: Tensor) -> Tensor:
        """Multiply with every row: x [T, K] → [T, N]."""
        return linear(x.contiguous(), [self.matrix])[0]


def project(x: Tensor, layers: Sequence[nn.Module]) -> list[Tensor]:
    """Give the same activations to several linear layers; quantised ones run as one kernel."""
    matrices = [layer.matrix for layer in layers if isinstance(layer, QuantizedLinear)]
    if len(matrices) == len(layers):
        return linear(x.contiguous(), matrices)
    return [layer(x) for layer in layers]


def add_projection(residual: Tensor, x: Tensor, layer: nn.Module) -> Tensor:
    """Return residual + layer(x); the memory of `residual` may be used for it."""
    if isinstance(layer, QuantizedLinear):
        add_linear(residual, x.contiguous(), layer.matrix)
        return residual
    out: Tensor = residual + layer(x)
    return out


def place(model: nn.Module, name: str, weight: Tensor, form: WeightFormat) -> None:
    """Put a float weight into the network in this format, in place of the parameter `name`."""
    owner = _owner(model, name)
    if isinstance(owner, nn.Linear | nn.Embedding) and form.rounds(weight.shape[1]):
        assert form.bits is not None
        place_quantized(model, name, quantize(weight.float().contiguous(), form.bits))
        return
    parameter = nn.Parameter(weight.to(form.dtype), requires_grad=False)
    setattr(owner, name.rpartition(".")[2], parameter)


def place_quantized(model: nn.Module, name: str, matrix: QuantizedMatrix) -> None:
    """Put a rounded matrix into the network, in place of the layer that owns parameter `name`."""
    layer_name = name.rpartition(".")[0]
    above, _, attribute = layer_name.rpartition(".")
    is_embedding = isinstance(_owner(model, name), nn.Embedding)
    layer = QuantizedEmbedding(matrix) if is_embedding else QuantizedLinear(matrix)
    setattr(model.get_submodule(above), attribute, layer)


def quantized_shapes(
    model: nn.Module, name: str, bits: int
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Shapes of the tiles and scales of a parameter; None if this format does not round it."""
    parameter = model.get_parameter(name)
    is_matrix = isinstance(_owner(model, name), nn.Linear | nn.Embedding)
    if not is_matrix or parameter.shape[1] % GROUP:
        return None
    return tile_shapes(parameter.shape[0], parameter.shape[1], bits)


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])
