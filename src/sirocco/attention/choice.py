"""Which backend computes attention, and how its cache writes keys and values down."""

from typing import Any

import torch

from sirocco.attention.base import AttentionBackend
from sirocco.attention.native_paged import NativePagedBackend
from sirocco.attention.sdpa import SdpaBackend
from sirocco.errors import BackendUnavailable
from sirocco.kvcache.format import BFLOAT16, FLOAT16, FLOAT32, KV_FORMATS, KvFormat, KvShape
from sirocco.kvcache.pool import KVCache, NativeKVCache
from sirocco.native import is_built


def choose_kv_format(
    name: str, *, dtype: torch.dtype, rounds_weights: bool, device: torch.device
) -> KvFormat:
    """Find the format by its name; `auto` is as exact as the model's weights are.

    That is float32 beside float32 weights, and float16 beside rounded ones. torch, which computes
    where the C++ kernels do not, reads the model's own dtype alone.

    Raises: BackendUnavailable for a format that the device or this installation lacks.
    """
    own = BFLOAT16 if dtype == torch.bfloat16 else FLOAT32
    if not _is_native(device):
        if name not in ("auto", own.name):
            raise BackendUnavailable(f"kv_format {name!r} needs a CPU and the C++ kernels")
        return own
    if name != "auto":
        return KV_FORMATS[name]
    return FLOAT32 if own is FLOAT32 and not rounds_weights else FLOAT16


def make_backend(
    shape: KvShape,
    *,
    n_blocks: int,
    block_size: int,
    window: int | None,
    kv_format: KvFormat,
    device: torch.device,
) -> AttentionBackend[Any]:
    """Make a cache and the fastest backend for it: C++ on a CPU, torch elsewhere."""
    sizes = {
        "n_layers": shape.n_layers,
        "n_blocks": n_blocks,
        "block_size": block_size,
        "n_kv_heads": shape.n_kv_heads,
        "head_dim": shape.head_dim,
    }
    if _is_native(device):
        return NativePagedBackend(NativeKVCache(**sizes, format=kv_format), window=window)
    dtype: torch.dtype = getattr(torch, kv_format.name)
    return SdpaBackend(KVCache(**sizes, dtype=dtype, device=device), window=window)


def _is_native(device: torch.device) -> bool:
    return device.type == "cpu" and is_built()
