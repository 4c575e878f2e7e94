"""Rotary positions: a query and a key meet at an angle that depends on their distance alone."""

import math

import torch
from torch import Tensor

from sirocco.model.config import ModelConfig, RopeScaling
from sirocco.native import serves
from sirocco.native.elementwise import rotate_


def inverse_frequencies(config: ModelConfig) -> Tensor:
    """Radians per position of each of the D/2 rotating pairs, fastest first: [D/2] float32.

    Source: Su 2021 §3.2.2, θ^(−2i/D).
    """
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64, device="cpu").float()
    frequencies = 1.0 / (config.rope_theta ** (exponents / config.head_dim))
    if config.rope_scaling is None:
        return frequencies
    return _stretch(frequencies, config.rope_scaling)


def _stretch(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Slow pairs turn `factor` times slower, fast pairs stay, those between are blended.

    Source: Llama 3.1 release (`rope_type: llama3`).
    """
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    wavelengths = 2 * math.pi / frequencies
    turns = scaling.original_max_seq_len / wavelengths  # over the length it was trained on
    blend = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - blend) * frequencies / scaling.factor + blend * frequencies


def rotation(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each pair's angle at each position: two [T, D/2] float32."""
    angles = positions.float()[:, None] * frequencies[None, :]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn every pair (x[i], x[i + D/2]) by its angle; the memory of x may be used for it.

    Pairs are half-split, as in the Hugging Face layout; `weights.py` reorders the
    projections of checkpoints whose pairs are neighbours.

    Args:
        x: [T, H, D].  cos, sin: [T, D/2] from `rotation`.

    Returns: [T, H, D] in x's dtype.
    """
    if serves(x):
        return rotate_(x, cos, sin)
    cos, sin = cos[:, None], sin[:, None]
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x.dtype)


def half_split_from_interleaved(weight: Tensor, n_heads: int) -> Tensor:
    """Reorder a query or key projection so that neighbouring pairs become half-split ones.

    Head rows (0, 1, 2, 3, 4, 5) with pairs (0,1) (2,3) (4,5) become (0, 2, 4, 1, 3, 5).

    Args:
        weight: [n_heads · D, dim].
    """
    rows, dim = weight.shape
    pairs = weight.view(n_heads, rows // n_heads // 2, 2, dim)
    return pairs.transpose(1, 2).reshape(rows, dim)
