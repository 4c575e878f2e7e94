"""What an engine says of its network and of its KV cache. Plain values, without torch."""

from dataclasses import dataclass, replace

from sirocco.kvcache.format import KvFormat


@dataclass(frozen=True, slots=True)
class EngineShape:
    """Dimensions of a network that was started, and of the cache beside it.

    Attributes:
        window: keys that a query sees, itself included; None sees all.
        max_seq_len: prompt plus output tokens of one request.
        block_size, n_blocks: of the KV cache.
        weights: name of the number format in which the weights are kept.
        kv_format: how a key or a value is kept.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    window: int | None
    vocab_size: int
    max_seq_len: int
    block_size: int
    n_blocks: int
    weights: str
    kv_format: KvFormat

    @property
    def group_size(self) -> int:
        """Query heads that share one KV head."""
        return self.n_heads // self.n_kv_heads

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one token keeps in the cache, in all layers."""
        return self.kv_format.bytes_per_token(self)

    @property
    def groupings(self) -> list["EngineShape"]:
        """The same network with every number of KV heads that divides its query heads.

        From MQA (1) over GQA to MHA (`n_heads`).
        """
        numbers = range(1, self.n_heads + 1)
        return [replace(self, n_kv_heads=n) for n in numbers if self.n_heads % n == 0]
