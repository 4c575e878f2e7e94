"""The same network with fewer and fewer KV heads, always with as many parameters."""

from dataclasses import dataclass, replace

from sirocco.model.config import ModelConfig

GROUPED = (8, 4, 2)
"""Counts of KV heads between multi-head and multi-query attention."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A shape under the name that the papers give its attention: MHA, GQA-4, MQA."""

    name: str
    shape: ModelConfig


def variants_of(shape: ModelConfig, *, multiple_of: int = 1) -> list[Variant]:
    """MHA, GQA-8, GQA-4, GQA-2 and MQA, as far as their KV heads divide the query heads.

    Args:
        multiple_of: of which `hidden_dim` is to be a multiple.
    """
    mha = replace(shape, n_kv_heads=shape.n_heads)
    counts = [n for n in GROUPED if n < shape.n_heads and shape.n_heads % n == 0]
    return [
        Variant(name_of(n, shape.n_heads), of_same_size(mha, n, multiple_of))
        for n in (shape.n_heads, *counts, 1)
    ]


def name_of(n_kv_heads: int, n_heads: int) -> str:
    """Name the attention of a network with these heads."""
    if n_kv_heads == n_heads:
        return "MHA"
    return "MQA" if n_kv_heads == 1 else f"GQA-{n_kv_heads}"


def of_same_size(shape: ModelConfig, n_kv_heads: int, multiple_of: int = 1) -> ModelConfig:
    """Change the number of KV heads and spend what that frees on the feed-forward.

    A KV head has 2 · dim · head_dim weights, a channel of the feed-forward 3 · dim. What is left
    over is less than 2 · multiple_of such channels in each layer.
    """
    freed = 2 * (shape.n_kv_heads - n_kv_heads) * shape.head_dim
    wanted = shape.hidden_dim + freed / 3
    hidden_dim = round(wanted / multiple_of) * multiple_of
    return replace(shape, n_kv_heads=n_kv_heads, hidden_dim=hidden_dim)
