"""Linear layers and embeddings of every weight format: float32, bfloat16, q8 and q4."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from sirocco.model.scaled import INT4_GROUP, Fp8Linear, Int4Linear
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
        scaled_bits: of the linear layers' weights in a format for GPUs (`scaled.py`); embedding
            and head stay in `dtype`.
    """

    name: str
    dtype: torch.dtype
    bits: int | None = None
    is_packed: bool = False
    scaled_bits: int | None = None

    @property
    def bits_per_weight(self) -> float:
        """Bits that a weight takes, its share of a scale included."""
        if self.scaled_bits is not None:
            return self.scaled_bits + (32 / INT4_GROUP if self.scaled_bits == 4 else 0.0)
        return self.bits + 16 / GROUP if self.bits is not None else 8 * self.dtype.itemsize

    def rounds(self, n_columns: int) -> bool:
        """Tell whether a matrix with rows of this length is rounded."""
        return self.bits is not None and n_columns % GROUP == 0

    def scales(self, name: str, shape: Sequence[int]) -> bool:
        """Tell whether a linear layer's parameter is rounded for a GPU, by its name and [N, K].

        The head is not, nor is a matrix that torch's products do not take.
        """
        if self.scaled_bits is None or name == "head.weight":
            return False
        return shape[0] % 16 == 0 and shape[1] % (16 if self.scaled_bits == 8 else INT4_GROUP) == 0


PLAIN = WeightFormat("float32", torch.float32)
"""torch's own layers, which can be trained."""

FORMATS = {
    "float32": WeightFormat("float32", torch.float32, is_packed=True),
    "bfloat16": WeightFormat("bfloat16", torch.bfloat16),
    "q8": WeightFormat("q8", torch.float32, bits=8, is_packed=True),
    "q4": WeightFormat("q4", torch.float32, bits=4, is_packed=True),
    "fp8": WeightFormat("fp8", torch.bfloat16, scaled_bits=8),
    "int4": WeightFormat("int4", torch.bfloat16, scaled_bits=4),
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

    def reset_parameters(self) -> None:
        """Fill it with random numbers, unless it is a mere shape.

        To draw numbers for a shape torch loads its compiler, which takes seconds and 150 MB.
        """
        if not self.weight.is_meta:
            super().reset_parameters()

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


class Summed(nn.Module):
    """x Wᵀ where each rank has some columns of W and of x; the sum is the same on every rank."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, K / ranks] → [T, N]."""
        out: Tensor = self.part(x)
        dist.all_reduce(out)
        return out


def fuse(layers: Sequence[nn.Module]) -> "Fused | None":
    """Make one product of several layers', of which each becomes a part, for `project`.

    Returns: None for layers that cannot be joined.
    """
    scaled = [layer for layer in layers if isinstance(layer, Fp8Linear)]
    if len(scaled) == len(layers):
        return _fuse_scaled(scaled)
    weights = [layer.weight for layer in layers if isinstance(layer, nn.Linear)]
    if len(weights) < len(layers):
        return None
    fused = torch.cat([weight.detach() for weight in weights])
    parts = torch.split(fused, [len(weight) for weight in weights])
    for layer, part in zip(layers, parts, strict=True):
        layer.weight = nn.Parameter(part, requires_grad=False)
    return Fused(partial(F.linear, weight=fused), [len(part) for part in parts])


def _fuse_scaled(layers: Sequence[Fp8Linear]) -> "Fused":
    joined, sizes = Fp8Linear.joined(layers), [len(layer.weight) for layer in layers]
    parts = zip(torch.split(joined.weight, sizes), torch.split(joined.scales, sizes), strict=True)
    for layer, (weight, scales) in zip(layers, parts, strict=True):
        layer.weight, layer.scales = weight, scales
    return Fused(joined, sizes)


@dataclass(frozen=True, slots=True)
class Fused:
    """One product in place of several: [T, K] → [T, N₁ + N₂ + …], and the N's."""

    multiply: Callable[[Tensor], Tensor]
    sizes: list[int]


def project(x: Tensor, layers: Sequence[nn.Module], fused: "Fused | None" = None) -> list[Tensor]:
    """Give the same activations to several linear layers; native ones run as one kernel.

    Args:
        fused: what `fuse` made of the layers; then it is one product, cut into views.
    """
    if fused is not None:
        return list(torch.split(fused.multiply(x), fused.sizes, dim=1))
    matrices = [layer.matrix for layer in layers if isinstance(layer, NativeLinear)]
    if len(matrices) == len(layers):
        return linear(x.contiguous(), matrices)
    return [layer(x) for layer in layers]


def add_projection(residual: Tensor, x: Tensor, layer: nn.Module) -> Tensor:
    """Return residual + layer(x); the memory of `residual` may be used for it."""
    if isinstance(layer, NativeLinear):
        add_linear(residual, x.contiguous(), layer.matrix)
        return residual
    if residual.is_cuda and isinstance(layer, nn.Linear):
        return torch.addmm(residual, x, layer.weight.t())  # one kernel
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
    if isinstance(owner, nn.Linear) and form.scales(name, weight.shape):
        _put(model, name, Fp8Linear.of(weight) if form.scaled_bits == 8 else Int4Linear(weight))
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
    is_embedding = isinstance(_owner(model, name), nn.Embedding)
    _put(model, name, NativeEmbedding(matrix) if is_embedding else NativeLinear(matrix))


def _put(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in place of the one that owns the parameter `name`."""
    above, _, attribute = name.rpartition(".")[0].rpartition(".")
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
