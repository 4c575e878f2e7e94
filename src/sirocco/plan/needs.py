"""What a network of a shape needs: bytes to keep and to read, operations to do. No machine yet."""

from dataclasses import dataclass

from sirocco.kvcache.format import KvFormat
from sirocco.model.config import ModelConfig

BITS_PER_WEIGHT = {
    "float32": 32.0,
    "bfloat16": 16.0,
    "fp8": 8.0,
    "int4": 4.25,
    "q8": 8.5,
    "q4": 4.5,
}
"""Bits a weight takes, its share of a scale included: 32 weights of q8 and q4 share a float16 one,
128 of int4 a bfloat16 one and a zero point."""

_LAYERS_ONLY = {"fp8": "bfloat16", "int4": "bfloat16"}
"""Formats of the layers' matrices alone, with the format that embedding and head keep."""


@dataclass(frozen=True, slots=True)
class Needs:
    """A shape with a number format for its weights and one for its keys and values.

    Attributes:
        shape: of the network.
        weights: a name in `BITS_PER_WEIGHT`.
        kv_format: how keys and values are kept.
    """

    shape: ModelConfig
    weights: str
    kv_format: KvFormat

    @property
    def weights_bytes(self) -> float:
        """All weights in memory; norms stay float32."""
        embedding_bytes = 0.0 if self.shape.tie_embeddings else self._head_bytes
        return self.step_bytes + embedding_bytes

    @property
    def step_bytes(self) -> float:
        """Weights read once per decode step: all but the embedding, of which a row is read."""
        n_in_layers = self.n_in_matrices - self._n_in_head
        layers_bytes = n_in_layers * BITS_PER_WEIGHT[self.weights] / 8
        return layers_bytes + self._head_bytes + 4 * self._n_in_norms

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values that one token keeps in all layers."""
        return self.kv_format.bytes_per_token(self.shape)

    def seen(self, context: int) -> int:
        """Positions that the token at the end of `context` attends to: no more than the window."""
        return min(context, self.shape.window or context)

    def kv_bytes(self, context: int) -> int:
        """Keys and values that a sequence of this many tokens holds, and that a step reads."""
        return self.seen(context) * self.kv_bytes_per_token

    @property
    def n_in_matrices(self) -> int:
        """Weights that each token is multiplied with, the head's included."""
        n_in_embedding = 0 if self.shape.tie_embeddings else self._n_in_head
        return self.shape.n_parameters - self._n_in_norms - n_in_embedding

    def attention_operations(self, n_pairs: float) -> float:
        """Multiplications and additions for this many pairs of a token and a position it sees."""
        return 4.0 * self.shape.n_layers * self.shape.n_heads * self.shape.head_dim * n_pairs

    def prefill_operations(self, n_tokens: int) -> float:
        """Of a prompt; the head serves its last token alone."""
        n_linear = (self.n_in_matrices - self._n_in_head) * n_tokens + self._n_in_head
        return 2.0 * n_linear + self.attention_operations(self.pairs(n_tokens))

    def pairs(self, n_tokens: int) -> float:
        """Count the pairs of a prompt's token and a position that it sees."""
        window = self.seen(n_tokens)
        return window * (window + 1) / 2 + (n_tokens - window) * window

    @property
    def _head_bytes(self) -> float:
        kept_in = _LAYERS_ONLY.get(self.weights, self.weights)
        return self._n_in_head * BITS_PER_WEIGHT[kept_in] / 8

    @property
    def _n_in_head(self) -> int:
        return self.shape.vocab_size * self.shape.dim

    @property
    def _n_in_norms(self) -> int:
        return (2 * self.shape.n_layers + 1) * self.shape.dim
