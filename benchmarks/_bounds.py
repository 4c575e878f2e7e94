"""What bounds a forward pass: what the machine reaches, measured, and what a network needs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from statistics import median
from time import perf_counter

import torch

from sirocco.kvcache.format import FLOAT16
from sirocco.model.config import ModelConfig
from sirocco.plan.needs import Needs


@dataclass(slots=True)
class Machine:
    """What this machine reached in this run."""

    reading_rates: list[float] = field(default_factory=list)
    operations_per_s: dict[str, float] = field(default_factory=dict)

    def read(self) -> float:
        """Sum 1 GiB, which no cache holds: bytes per second of this moment."""
        numbers = large_array()
        rate = numbers.nbytes / seconds(numbers.sum)
        self.reading_rates.append(rate)
        return rate

    def measure_multiplying(self) -> None:
        """Multiply matrices in every number format that torch multiplies fast here."""
        for dtype in (torch.float32, torch.bfloat16, torch.int8):
            rate = max(multiplying_rate(dtype, 512) for _ in range(2))
            if rate > 20e9:  # below that a large product would take long and tell nothing
                rate = max(multiplying_rate(dtype, size) for size in (1024, 2048) for _ in range(4))
            name = str(dtype).removeprefix("torch.")
            self.operations_per_s[name] = max(rate, self.operations_per_s.get(name, 0.0))

    @property
    def fastest(self) -> float:
        """Operations per second in the number format that is multiplied fastest."""
        return max(self.operations_per_s.values())

    def summary(self) -> dict[str, object]:
        """Gigabytes and giga-operations per second."""
        return {
            "read_gb_per_s": round(median(self.reading_rates) / 1e9, 2),
            "read_gb_per_s_range": [round(f(self.reading_rates) / 1e9, 2) for f in (min, max)],
            "gop_per_s": {name: round(v / 1e9) for name, v in self.operations_per_s.items()},
        }


@dataclass(frozen=True, slots=True)
class Work:
    """The bounds of a network of this shape and format, keys and values in float16."""

    shape: ModelConfig
    weights: str

    @property
    def needs(self) -> Needs:
        """What it has to read and to multiply."""
        return Needs(self.shape, self.weights, FLOAT16)

    def decode_bound(
        self, machine: Machine, read_bytes_per_s: float, n_sequences: int, context: int
    ) -> float:
        """Tokens per second if reading were all, or multiplying, whichever takes longer."""
        step_bytes = self.needs.step_bytes + n_sequences * self.needs.kv_bytes(context)
        operations = 2.0 * self.needs.n_in_matrices * n_sequences
        step_s = max(step_bytes / read_bytes_per_s, operations / machine.fastest)
        return n_sequences / step_s

    def prefill_bound(self, machine: Machine, n_tokens: int) -> float:
        """Tokens per second if multiplying were all."""
        return n_tokens * machine.fastest / self.needs.prefill_operations(n_tokens)


@cache
def large_array() -> torch.Tensor:
    """Make 1 GiB of numbers, once and not before something is read."""
    return torch.ones(2**27, dtype=torch.int64)


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
