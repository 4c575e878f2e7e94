"""What bounds a forward pass: what the machine reaches, measured, and what a network needs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import torch

from sirocco.kvcache.format import FLOAT16
from sirocco.model.config import ModelConfig

BITS_PER_WEIGHT = {"q4": 4.5, "q8": 8.5}  # integers of 32 weights and their float16 scale


@dataclass(slots=True)
class Machine:
    """What this machine reached at best in this run."""

    read_bytes_per_s: float = 0.0
    operations_per_s: dict[str, float] = field(default_factory=dict)

    def measure_reading(self) -> None:
        """Sum 1 GiB, which no cache holds."""
        numbers = torch.ones(2**27, dtype=torch.int64)
        for _ in range(3):
            rate = numbers.nbytes / seconds(numbers.sum)
            self.read_bytes_per_s = max(self.read_bytes_per_s, rate)

    def measure_multiplying(self) -> None:
        """Multiply matrices in every number format that torch multiplies fast here."""
        for dtype in (torch.float32, torch.bfloat16, torch.int8):
            rate = max(multiplying_rate(dtype, 512) for _ in range(2))
            if rate > 20e9:  # below that a large product would take long and tell nothing
                rate = max(multiplying_rate(dtype, size) for size in (1024, 2048) for _ in range(4))
            name = str(dtype).removeprefix("torch.")
            self.operations_per_s[name] = max(rate, self.operations_per_s.get(name, 0.0))

    def summary(self) -> dict[str, object]:
        """Gigabytes and giga-operations per second."""
        return {
            "read_gb_per_s": round(self.read_bytes_per_s / 1e9, 2),
            "gop_per_s": {name: round(v / 1e9) for name, v in self.operations_per_s.items()},
        }


@dataclass(frozen=True, slots=True)
class Work:
    """How much a network of this shape and format has to read and to multiply."""

    shape: ModelConfig
    weights: str

    @property
    def matrix_bytes(self) -> float:
        """Read once per decode step: everything but the embedding, of which a row is read."""
        return self._n_in_matrices * BITS_PER_WEIGHT[self.weights] / 8 + 4 * self._n_in_norms

    @property
    def model_bytes(self) -> float:
        """All weights."""
        embedding = 0 if self.shape.tie_embeddings else self._n_in_head
        return self.matrix_bytes + embedding * BITS_PER_WEIGHT[self.weights] / 8

    def kv_bytes(self, n_tokens: int) -> int:
        """Keys and values of `n_tokens` in float16."""
        return n_tokens * FLOAT16.bytes_per_token(self.shape)

    def decode_bound(self, machine: Machine, n_sequences: int, context: int) -> float:
        """Tokens per second if reading were all."""
        step_bytes = self.matrix_bytes + self.kv_bytes(n_sequences * context)
        return n_sequences * machine.read_bytes_per_s / step_bytes

    def prefill_bound(self, machine: Machine, n_tokens: int) -> float:
        """Tokens per second if multiplying were all; the head serves the last token alone."""
        shape = self.shape
        n_attention = shape.n_layers * shape.n_heads * shape.head_dim * n_tokens**2  # 4 · ½
        n_linear = (self._n_in_matrices - self._n_in_head) * n_tokens + self._n_in_head
        n_operations = 2 * n_linear + 2 * n_attention
        return n_tokens * max(machine.operations_per_s.values()) / n_operations

    @property
    def _n_in_head(self) -> int:
        return self.shape.vocab_size * self.shape.dim

    @property
    def _n_in_norms(self) -> int:
        return (2 * self.shape.n_layers + 1) * self.shape.dim

    @property
    def _n_in_matrices(self) -> int:
        embedding = 0 if self.shape.tie_embeddings else self._n_in_head
        return self.shape.n_parameters - self._n_in_norms - embedding


def multiplying_rate(dtype: torch.dtype, size: int) -> float:
    """Measure operations per second of one square product; 0 where torch cannot."""
    a, b = (torch.randint(-9, 9, (size, size)).to(dtype) for _ in range(2))
    product = torch._int_mm if dtype == torch.int8 else torch.mm
    try:
        return 2 * size**3 / seconds(lambda: product(a, b))
    except RuntimeError:
        return 0.0


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = perf_counter()
    work()
    return perf_counter() - started
