"""Linear layers and embeddings of every weight format: float32, bfloat16, q8 and q4."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sirocco.native import is_built
from sirocco.native.linear import (
    GROUP,
    Matrix,
    QuantizedMatrix,
    add_linear,
    linear,
    pack,
    quantize,
    rows_of,
    tile_shapes,
)


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How weights are kept in memory.

    Attributes:
        name: as users write it.
        dtype: of activations, and of the weights that are not rounded.
        bits: of a rounded weight, besides half a bit for its group's scale; None rounds nothing.
        is_packed: float32 weights are laid out for our own kernels where these are built, on a CPU.
            Such a layer has no gradient, and a row's bits depend on no other row.
    """

    name: str
    dtype: torch.dtype
    bits: int | None = None
    is_packed: bool = False

    @property
    def bits_per_weight(self) -> float:
        """Bits that a weight takes, its share of a scale included."""
        return self.bits + 16 / GROUP if self.bits is not None else 8 * self.dtype.itemsize

    def rounds(self, n_columns: int) -> bool:
        """Tell whether a matrix with rows of this length is rounded."""
        return self.bits is not None and n_columns % GROUP == 0


PLAIN = WeightFormat("float32", torch.float32)
"""torch's own layers, which can be trained."""

FORMATS = {
    "float32": WeightFormat("float32", torch.float32, is_packed=True),
    "bfloat16": WeightFormat("bfloat16", torch.bfloat16),
    "q8": WeightFormat("q8", torch.float32, bits=8, is_packed=True),
    "q4": WeightFormat("q4", torch.float32, bits=4, is_packed=True),
}
"""How an engine can keep weights."""


class _Native(nn.Module):
    """A matrix [N, K] for our own kernels, which has no gradient and stays on the CPU."""

    def __init__(self, matrix: Matrix) -> None:
        super().__init__()
        self.matrix = matrix


class NativeLinear(_Native):
    """x Wᵀ; for a rounded matrix x is rounded to 8 bits in groups of 32."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, K] float32 → [T, N]."""
        return linear(x.contiguous(), [self.matrix])[0]


class Embedding(nn.Embedding):
    """Rows by token id; with a tied head the same rows score what comes next."""

    def score(self, x: Tensor) -> Tensor:
        """Multiply with every row: x [T, K] → [T, N]."""
        return F.linear(x, self.weight)


class NativeEmbedding(_Native):
    """`Embedding` for our own kernels: one matrix, also for a tied head."""

    def forward(self, token_ids: Tensor) -> Tensor:
        """token_ids: [T] int64 → [T, K] float32."""
        return rows_of(self.matrix, token_ids)

    def score(self, x: Tensor) -> Tensor:
        """Multiply with every row: x [T, K] → [T, N]."""
        return linear(x.contiguous(), [self.matrix])[0]


def project(x: Tensor, layers: Sequence[nn.Module]) -> list[Tensor]:
    """Give the same activations to several linear layers; native ones run as one kernel."""
    matrices = [layer.matrix for layer in layers if isinstance(layer, NativeLinear)]
    if len(matrices) == len(layers):
        return linear(x.contiguous(), matrices)
    return [layer(x) for layer in layers]


def add_projection(residual: Tensor, x: Tensor, layer: nn.Module) -> Tensor:
    """Return residual + layer(x); the memory of `residual` may be used for it."""
    if isinstance(layer, NativeLinear):
        add_linear(residual, x.contiguous(), layer.matrix)
        return residual
    out: Tensor = residual + layer(x)
    return out


def place(model: nn.Module, name: str, weight: Tensor, form: WeightFormat) -> None:
    """Put a float weight into the network in this format, in place of the parameter `name`."""
    owner = _owner(model, name)
    if isinstance(owner, nn.Linear | nn.Embedding):
        matrix = _native_matrix(weight, form)
        if matrix is not None:
            place_matrix(model, name, matrix)
            return
    parameter = nn.Parameter(weight.to(form.dtype), requires_grad=False)
    setattr(owner, name.rpartition(".")[2], parameter)


def _native_matrix(weight: Tensor, form: WeightFormat) -> Matrix | None:
    """Round or pack a float matrix; None if torch's own layer shall have it."""
    if form.rounds(weight.shape[1]):
        assert form.bits is not None
        return quantize(weight.float().contiguous(), form.bits)
    if form.is_packed and weight.device.type == "cpu" and is_built():
        return pack(weight.float().contiguous())
    return None


def place_matrix(model: nn.Module, name: str, matrix: Matrix) -> None:
    """Put a native matrix into the network, in place of the layer that owns parameter `name`."""
    layer_name = name.rpartition(".")[0]
    above, _, attribute = layer_name.rpartition(".")
    is_embedding = isinstance(_owner(model, name), nn.Embedding)
    layer = NativeEmbedding(matrix) if is_embedding else NativeLinear(matrix)
    setattr(model.get_submodule(above), attribute, layer)


def rounded_matrix(model: nn.Module, name: str) -> QuantizedMatrix | None:
    """Give the rounded matrix that stands for the parameter `name`; None if it is not rounded."""
    owner = _owner(model, name)
    matrix = owner.matrix if isinstance(owner, _Native) else None
    return matrix if isinstance(matrix, QuantizedMatrix) else None


def float_weight(model: nn.Module, name: str) -> Tensor:
    """Give a parameter, or what a native layer holds in its place, as floats."""
    owner = _owner(model, name)
    if isinstance(owner, _Native):
        return rows_of(owner.matrix)
    return model.get_parameter(name).detach()


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
