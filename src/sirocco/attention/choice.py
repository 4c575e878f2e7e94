"""Which backend computes attention, and how its cache writes keys and values down.

`native` is for the CPU, `triton` for a GPU, and `sdpa` for every device, without kernels of ours.
`flashinfer`, an extra, is other people's kernels for a GPU.
"""

import importlib.util
from typing import Any, Literal

import torch

from sirocco.attention.base import AttentionBackend
from sirocco.attention.flashinfer_paged import FlashInferBackend, has_flashinfer
from sirocco.attention.native_paged import NativePagedBackend
from sirocco.attention.sdpa import SdpaBackend
from sirocco.errors import BackendUnavailable, ConfigError
from sirocco.kvcache.format import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    KV_FORMATS,
    TRITON_FORMATS,
    KvFormat,
    KvShape,
)
from sirocco.kvcache.pool import KVCache, NativeKVCache
from sirocco.native import is_built

AttentionName = Literal["native", "triton", "flashinfer", "sdpa"]

_DTYPES = {
    "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "fp8": torch.float8_e4m3fn,
}  # fmt: skip


def choose_attention(name: str, *, device: torch.device) -> AttentionName:
    """Find the backend by its name; `auto` is the fastest that this installation has.

    Raises: BackendUnavailable for one that the device or this installation lacks; ConfigError.
    """
    if name == "auto":
        if device.type == "cpu":
            return "native" if is_built() else "sdpa"
        return "triton" if device.type == "cuda" and _runs_triton(device) else "sdpa"
    if name == "native":
        if device.type != "cpu" or not is_built():
            raise BackendUnavailable("attention 'native' needs a CPU and the C++ kernels")
        return "native"
    if name == "triton":
        if not has_triton():
            raise BackendUnavailable(
                "attention 'triton' needs the package triton: pip install 'sirocco[gpu]'"
            )
        return "triton"
    if name == "flashinfer":
        if device.type != "cuda" or not has_flashinfer():
            raise BackendUnavailable(
                "attention 'flashinfer' needs a GPU and the package: "
                "pip install 'sirocco[flashinfer]'"
            )
        return "flashinfer"
    if name != "sdpa":
        raise ConfigError(
            f"attention must be auto, native, triton, flashinfer or sdpa, got {name!r}"
        )
    return "sdpa"


def has_triton() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("triton") is not None


def choose_kv_format(
    name: str, *, dtype: torch.dtype, rounds_weights: bool, attention: AttentionName
) -> KvFormat:
    """Find the format by its name; `auto` is as exact as the model's weights are.

    That is float32 beside float32 weights, and float16 beside rounded ones. The backends of a GPU
    keep the model's own dtype by themselves.

    Raises: BackendUnavailable for a format that the backend lacks.
    """
    own = {torch.bfloat16: BFLOAT16, torch.float16: FLOAT16}.get(dtype, FLOAT32)
    formats = {
        "native": KV_FORMATS, "triton": TRITON_FORMATS, "sdpa": {own.name: own},
        "flashinfer": {f.name: f for f in (FLOAT16, BFLOAT16)},
    }[attention]  # fmt: skip
    if name != "auto":
        if name not in formats:
            raise BackendUnavailable(
                f"kv_format must be one of auto, {', '.join(formats)} with attention "
                f"{attention!r}, got {name!r}"
            )
        return formats[name]
    if attention != "native":
        return own
    return FLOAT32 if own is FLOAT32 and not rounds_weights else FLOAT16


def make_backend(
    shape: KvShape,
    *,
    attention: AttentionName,
    group_size: int,
    n_blocks: int,
    block_size: int,
    window: int | None,
    kv_format: KvFormat,
    device: torch.device,
) -> AttentionBackend[Any]:
    """Make a cache and a backend for it. Raises: BackendUnavailable where it cannot run."""
    sizes = {
        "n_layers": shape.n_layers,
        "n_blocks": n_blocks,
        "block_size": block_size,
        "n_kv_heads": shape.n_kv_heads,
        "head_dim": shape.head_dim,
    }
    if attention == "native":
        return NativePagedBackend(NativeKVCache(**sizes, format=kv_format), window=window)
    cache = KVCache(**sizes, dtype=_DTYPES[kv_format.name], device=device)
    if attention == "flashinfer":
        return FlashInferBackend(cache, group_size=group_size, window=window)
    if attention == "sdpa":
        return SdpaBackend(cache, window=window)
    from sirocco.attention.triton_paged import TritonPagedBackend  # noqa: PLC0415 - an extra

    return TritonPagedBackend(cache, group_size=group_size, window=window)


def _runs_triton(device: torch.device) -> bool:
    """Whether the kernels run on this GPU; older ones lack what they need."""
    return has_triton() and torch.cuda.get_device_capability(device) >= (8, 0)
