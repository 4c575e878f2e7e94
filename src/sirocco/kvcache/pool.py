"""The tensors of the KV cache. It knows slots, not who holds them (`block_manager.py`)."""

import torch
from torch import Tensor

from sirocco.kvcache.format import FLOAT16, KvFormat


class KVCache:
    """Keys and values of every layer, in blocks that are allocated once.

    A slot is one position: `block_id * block_size + offset`. Slots that were never written
    hold whatever the memory held; readers must not touch them.

    Attributes:
        k, v: per layer, [N, P, K, D].
        k_scales, v_scales: per layer, [N, P, K] float32 in float8_e4m3fn, where the value of a
            number is number · scale; None in other dtypes.
    """

    def __init__(
        self,
        *,
        n_layers: int,
        n_blocks: int,
        block_size: int,
        n_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (n_blocks, block_size, n_kv_heads, head_dim)
        self.block_size = block_size
        self.k = [torch.empty(shape, dtype=dtype, device=device) for _ in range(n_layers)]
        self.v = [torch.empty(shape, dtype=dtype, device=device) for _ in range(n_layers)]
        self.has_scales = dtype == torch.float8_e4m3fn
        self.k_scales = [self._empty_scales() for _ in self.k]
        self.v_scales = [self._empty_scales() for _ in self.v]

    def _empty_scales(self) -> Tensor | None:
        if not self.has_scales:
            return None
        return torch.empty(self.k[0].shape[:3], dtype=torch.float32, device=self.device)

    @property
    def dtype(self) -> torch.dtype:
        """The type of a stored value."""
        return self.k[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.k[0].device

    def slots(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer by slot: two views [N·P, K, D] of the same memory."""
        return self.k[layer].flatten(0, 1), self.v[layer].flatten(0, 1)

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Store k, v [T, K, D] at `slots` [T] int64.

        Raises: ValueError where numbers have scales.
        """
        if self.has_scales:
            raise ValueError(f"{self.dtype} is written by kernels alone")
        keys, values = self.slots(layer)
        keys.index_copy_(0, slots, k.to(keys.dtype))
        values.index_copy_(0, slots, v.to(values.dtype))


class NativeKVCache:
    """Keys and values on the CPU, laid out for the C++ kernels, which alone write them.

    A slot is one position, as in `KVCache`, and a slot that was never written holds anything.

    Attributes:
        format, block_size, n_blocks: how a number is stored; positions in a block; blocks.
        k: per layer, [N, K, D, P]: a vector of the processor takes one channel of neighbours.
        v: per layer, [N, K, P, D].
        k_scales, v_scales: per layer, [N, K, P] float32 in int8, where the value of a number is
            number · scale; None in other formats.
    """

    def __init__(
        self,
        *,
        n_layers: int,
        n_blocks: int,
        block_size: int,
        n_kv_heads: int,
        head_dim: int,
        format: KvFormat = FLOAT16,  # noqa: A002 - the word for it
    ) -> None:
        dtype: torch.dtype = getattr(torch, format.name)
        head, scales = (n_blocks, n_kv_heads), (n_blocks, n_kv_heads, block_size)
        self.format, self.block_size, self.n_blocks = format, block_size, n_blocks
        self.k = [torch.empty(*head, head_dim, block_size, dtype=dtype) for _ in range(n_layers)]
        self.v = [torch.empty(*head, block_size, head_dim, dtype=dtype) for _ in range(n_layers)]
        self.k_scales = [torch.empty(scales) if format.scale_bytes else None for _ in self.k]
        self.v_scales = [torch.empty(scales) if format.scale_bytes else None for _ in self.v]
