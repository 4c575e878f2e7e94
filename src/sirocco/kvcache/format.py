"""How a key or a value is written down, and what that costs. It knows numbers, not tensors."""

from dataclasses import dataclass
from typing import Protocol


class KvShape(Protocol):
    """What the size of a KV cache depends on; a model's config has it."""

    @property
    def n_layers(self) -> int: ...  # noqa: D102 - named in the glossary
    @property
    def n_kv_heads(self) -> int: ...  # noqa: D102
    @property
    def head_dim(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class KvFormat:
    """A way to store keys and values.

    Attributes:
        name: "float32", "float16", "bfloat16", "int8" or "fp8" (e4m3).
        value_bytes: of a number.
        scale_bytes: of the scale that the numbers of one position and KV head share, or 0.
    """

    name: str
    value_bytes: int
    scale_bytes: int = 0

    def bytes_per_token(self, shape: KvShape) -> int:
        """Bytes of keys, values and their scales that one token keeps in all layers."""
        bytes_per_head = shape.head_dim * self.value_bytes + self.scale_bytes
        return 2 * shape.n_layers * shape.n_kv_heads * bytes_per_head


FLOAT32 = KvFormat("float32", 4)
FLOAT16 = KvFormat("float16", 2)
BFLOAT16 = KvFormat("bfloat16", 2)
INT8 = KvFormat("int8", 1, scale_bytes=4)
FP8 = KvFormat("fp8", 1, scale_bytes=4)

KV_FORMATS: dict[str, KvFormat] = {f.name: f for f in (FLOAT32, FLOAT16, INT8)}
"""The formats of `NativeKVCache` by name."""

TRITON_FORMATS: dict[str, KvFormat] = {f.name: f for f in (FLOAT32, FLOAT16, BFLOAT16, FP8)}
"""The formats of `KVCache` that the Triton kernels take, by name."""
