"""Fewer KV heads for a checkpoint: neighbouring heads become their mean.

Query head h reads KV head h // group_size, so the heads that a larger group shares are
neighbours, and one that is their mean stands nearest to all of them. Rotary positions turn every
head alike, so that the mean of turned keys is the turned mean of keys, and weights can be pooled.

Source: Ainslie 2023 §2.1 (arXiv 2305.13245), where the mean did better than one of the heads,
and both better than a new one.
"""

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sirocco.errors import CheckpointError, ConfigError
from sirocco.model.config import ModelConfig, write_config_with_kv_heads
from sirocco.model.weights import (
    INDEX,
    bits_of_checkpoint,
    check_checkpoint,
    layout_of,
    weight_files,
)


def pool_heads(weight: Tensor, n_kv_heads: int, n_pooled: int) -> Tensor:
    """Give `n_pooled` KV heads, each the mean of n_kv_heads / n_pooled neighbours.

    Args:
        weight: [K·D, dim] of a key or value projection, any float dtype; n_pooled divides K.

    Returns: a new [n_pooled · D, dim] in the same dtype. Heads that were equal stay what they
        were, to the last bit.
    """
    n_rows, dim = weight.shape
    # In float64 the sum of a few equal float32 numbers is exact, and so is its mean.
    grouped = weight.double().view(n_pooled, n_kv_heads // n_pooled, n_rows // n_kv_heads, dim)
    return grouped.mean(1).flatten(0, 1).to(weight.dtype)


def pool_checkpoint(folder: Path, out: Path, n_kv_heads: int) -> ModelConfig:
    """Write a checkpoint with `n_kv_heads` KV heads; all other weights stay bit for bit.

    File by file, so that it needs the memory of the largest one. The config is written last: a
    folder in which it was broken off is no checkpoint.

    Returns: the new shape.
    Raises: CheckpointError if `folder` is no whole checkpoint, or a quantised one; ConfigError if
        n_kv_heads is not a smaller divisor of what it has.
    """
    check_checkpoint(folder)
    if bits_of_checkpoint(folder) is not None:
        raise CheckpointError(f"{folder} is quantised: pool the heads of the floats it came from")
    shape = ModelConfig.from_folder(folder)
    _check_count(n_kv_heads, shape)
    names = _kv_names(folder, shape)
    out.mkdir(parents=True, exist_ok=True)
    n_bytes = sum(
        _pool_file(file, out / file.name, names, shape.n_kv_heads, n_kv_heads)
        for file in weight_files(folder)
    )
    _copy_index(folder, out, n_bytes)
    write_config_with_kv_heads(folder, out, n_kv_heads)
    return ModelConfig.from_folder(out)


def _check_count(n_kv_heads: int, shape: ModelConfig) -> None:
    if not 1 <= n_kv_heads < shape.n_kv_heads or shape.n_kv_heads % n_kv_heads:
        divisors = [n for n in range(1, shape.n_kv_heads) if shape.n_kv_heads % n == 0]
        allowed = ", ".join(map(str, divisors)) or "none: it has a single KV head"
        raise ConfigError(
            f"n_kv_heads must be a smaller divisor of the checkpoint's {shape.n_kv_heads} "
            f"({allowed}), got {n_kv_heads}"
        )


def _kv_names(folder: Path, shape: ModelConfig) -> set[str]:
    """Names, in the files, of the projections that make keys and values."""
    layout = layout_of(folder)
    return {
        layout.name_of(f"layers.{layer}.attention.{projection}.weight")
        for layer in range(shape.n_layers)
        for projection in ("wk", "wv")
    }


def _pool_file(file: Path, out: Path, names: set[str], n_before: int, n_after: int) -> int:
    """Write one file anew; returns the bytes of its tensors."""
    tensors: dict[str, Tensor] = {}
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
        for name in opened.keys():  # noqa: SIM118 - not a mapping
            tensor = opened.get_tensor(name)
            tensors[name] = pool_heads(tensor, n_before, n_after) if name in names else tensor
        save_file(tensors, out, metadata=metadata)
    out.chmod(0o644)  # the library leaves it to its owner alone
    return sum(tensor.nbytes for tensor in tensors.values())


def _copy_index(folder: Path, out: Path, n_bytes: int) -> None:
    if not (folder / INDEX).exists():
        return
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    index["metadata"] = {**index.get("metadata", {}), "total_size": n_bytes}
    (out / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
