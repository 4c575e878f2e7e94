"""What an inspection is asked for. Plain values, without torch: they travel between processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sirocco.errors import InvalidInput

Encoding = Literal["uint8", "float16"]

VALUE_BYTES: dict[Encoding, int] = {"uint8": 1, "float16": 2}
"""How a probability is written: 0 … 255 for 0 … 1, or as it is."""

MOST_ATTENTION_BYTES = 8 * 1024 * 1024
"""Of the attention of one inspection: 32 heads over 512 tokens in uint8."""


@dataclass(frozen=True, slots=True)
class InspectionRequest:
    """A text, and what of the network's work on it is wanted.

    Attributes:
        request_id: of one inspection that is in flight.
        layers, heads: whose attention is wanted: of every layer named, every head named; both
            in ascending order, each once.
        n_alternatives: the likeliest tokens to tell beside each; 0 tells none.
        wait_limit_s: seconds that it may wait before its work begins; None waits for ever.
        time_limit_s: seconds from its arrival to its end; None takes what it takes.
    """

    request_id: str
    token_ids: Sequence[int]
    layers: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    n_alternatives: int = 0
    encoding: Encoding = "uint8"
    account: str = ""
    wait_limit_s: float | None = None
    time_limit_s: float | None = None

    @property
    def n_planes(self) -> int:
        """Attention maps: one for each layer and head that is named."""
        return len(self.layers) * len(self.heads)

    @property
    def attention_bytes(self) -> int:
        """Bytes of all maps: [planes, S, S]."""
        return self.n_planes * len(self.token_ids) ** 2 * VALUE_BYTES[self.encoding]

    def check(self, *, n_layers: int, n_heads: int) -> None:
        """Refuse what the network does not have, and more than one answer holds.

        Raises: InvalidInput naming the field, its value and its limit.
        """
        for name, asked, n in (("layers", self.layers, n_layers), ("heads", self.heads, n_heads)):
            strange = [index for index in asked if not 0 <= index < n]
            if strange:
                raise InvalidInput(f"'/{name}' must be in 0 … {n - 1}, got {strange[0]}")
        if self.attention_bytes > MOST_ATTENTION_BYTES:
            raise InvalidInput(
                f"'/layers' × '/heads' × tokens² must be <= {MOST_ATTENTION_BYTES} bytes, "
                f"got {len(self.layers)} × {len(self.heads)} × {len(self.token_ids)}² × "
                f"{VALUE_BYTES[self.encoding]}: ask for fewer layers or heads at a time"
            )
