"""What a machine offers: memory, how fast it is read and numbers are multiplied, its price."""

import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from operator import itemgetter
from typing import Any

from sirocco.errors import ConfigError

LOCAL = "local"
"""The name of this machine, which `local.py` measures."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What decode steps took on a machine, in place of what its rates promise.

    Attributes:
        weight_s: seconds for each weight of the matrices, by their format and then by the rows
            that are multiplied with them at once: ((1, 3e-11), (4, 4e-11), …).
        step_s, layer_s, sequence_s: what is in none of that, for a step, for each of its layers,
            for each of its sequences: schedules, norms, calls, the choice of tokens, text.
    """

    weight_s: Mapping[str, Sequence[tuple[int, float]]]
    step_s: float
    layer_s: float
    sequence_s: float

    def matrices_s(self, weights: str, n_weights: int, n_rows: int) -> float:
        """Seconds to multiply so many rows: on straight lines between those that were measured.

        More rows than any of them take as long for each as the most that were measured.
        """
        points = self.weight_s[weights]
        last_rows, last_s = points[-1]
        if n_rows >= last_rows:
            return n_weights * last_s * n_rows / last_rows
        at = max(1, bisect_right(points, n_rows, key=itemgetter(0)))
        (fewer, fewer_s), (more, more_s) = points[at - 1], points[at]
        part = (n_rows - fewer) / (more - fewer)
        return n_weights * (fewer_s + part * (more_s - fewer_s))

    def rest_s(self, n_layers: int, n_sequences: int) -> float:
        """Seconds of a step for what is neither matrices nor attention."""
        return self.step_s + n_layers * self.layer_s + n_sequences * self.sequence_s


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
        steps: what steps took, or None where nobody measured.
    """

    id: str
    name: str
    memory_bytes: float
    read_bytes_per_s: float
    operations_per_s: Mapping[str, float]
    attention_operations_per_s: float
    share: float = 1.0
    usd_per_hour: float | None = None
    steps: Steps | None = None

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
