"""What a machine offers: memory, how fast it is read and numbers are multiplied, its price."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from sirocco.errors import ConfigError

LOCAL = "local"
"""The name of this machine, which `local.py` measures."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """One machine, or one card.

    Attributes:
        id, name: as users write it; as people call it.
        memory_bytes: where weights, keys and values lie.
        read_bytes_per_s: of that memory.
        operations_per_s: multiplications and additions, by the number format of the weights.
        attention_operations_per_s: the same between queries, keys and values.
        share: of these rates that a good engine gets; 1 where they were measured in its kernels.
        usd_per_hour: what it costs, or None where nobody said.
    """

    id: str
    name: str
    memory_bytes: float
    read_bytes_per_s: float
    operations_per_s: Mapping[str, float]
    attention_operations_per_s: float
    share: float = 1.0
    usd_per_hour: float | None = None

    def rate(self, weights: str) -> float:
        """Operations per second with weights of this format. Raises: ConfigError if it has none."""
        if weights not in self.operations_per_s:
            raise ConfigError(
                f"weights {weights} cannot be multiplied on {self.name}; "
                f"it has {', '.join(self.operations_per_s)}"
            )
        return self.operations_per_s[weights]


@cache
def known_hardware() -> Mapping[str, Hardware]:
    """Read the table of `hardware.toml`: machines by id."""
    text = files("sirocco.plan").joinpath("hardware.toml").read_text(encoding="utf-8")
    return {name: _hardware(name, row) for name, row in tomllib.loads(text).items()}


def hardware(name: str) -> Hardware:
    """Look up a machine of the table. Raises: ConfigError naming those there are."""
    known = known_hardware()
    if name not in known:
        raise ConfigError(f"hardware {name!r} is not one of {LOCAL}, {', '.join(known)}")
    return known[name]


def _hardware(name: str, row: Mapping[str, Any]) -> Hardware:
    return Hardware(
        id=name,
        name=row["name"],
        memory_bytes=row["memory_gb"] * 1e9,
        read_bytes_per_s=row["read_gb_per_s"] * 1e9,
        operations_per_s={k: v * 1e12 for k, v in row["tera_operations_per_s"].items()},
        # Both kinds of machine attend with the numbers that bfloat16 weights are multiplied in.
        attention_operations_per_s=row["tera_operations_per_s"]["bfloat16"] * 1e12,
        share=row["share"],
        usd_per_hour=row["usd_per_hour"],
    )
