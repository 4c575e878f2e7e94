"""The seam between the network and the place where keys and values live.

The network calls one function per layer, `Attend`. Where the keys of earlier steps are,
which sequences a step mixes, and which device computes is the backend's business: it plans
once per step and attends once per layer; whoever runs the network binds the plan, so that
the network sees `attend(q, k, v, layer)` alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from sirocco.native.layer import LayerWeights

PlanT = TypeVar("PlanT")
Rotation = tuple[Tensor, Tensor]
"""Cosine and sine of each token's angles: two [T, D/2] float32."""


class Attend(Protocol):
    """Attention of one layer over the tokens of one step, as the network sees it."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, layer: int) -> Tensor:
        """Return the attended values of every token of the step.

        Args:
            q: [T, H, D], rotated.  k, v: [T, K, D]; k rotated. K divides H.
            layer: index of the layer, 0 … n_layers − 1.

        Returns: [T, H, D] in q's dtype.
        """
        ...


@runtime_checkable
class RunsLayers(Protocol):
    """An `Attend` that can run layers of native weights by itself, with the same bits."""

    def run_layers(self, layers: Sequence[LayerWeights], x: Tensor, rotation: Rotation) -> None:
        """Advance x [T, dim] through all layers in place, as `model/layers.py` would with it."""
        ...


@runtime_checkable
class Rotates(Protocol):
    """An `Attend` that rotates by itself, which saves a way through memory."""

    def rotate_and_attend(
        self, q: Tensor, k: Tensor, v: Tensor, rotation: Rotation, layer: int
    ) -> Tensor:
        """Attend as `Attend` does, with q and k that are not rotated yet."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens of one sequence in a step, and where its keys and values are.

    Attributes:
        first_position: position of the span's first token; all before it are in the cache.
        n_tokens: length of the span; 1 in decode.
        block_ids: blocks of positions n_reclaimed · P and on, enough to hold the span.
        n_reclaimed: blocks in front of them that were given back, wholly behind the window.
    """

    first_position: int
    n_tokens: int
    block_ids: Sequence[int]
    n_reclaimed: int = 0


class AttentionBackend(Protocol[PlanT]):
    """A way to compute attention over the blocks of a KV cache, with one window for all layers."""

    def plan(self, spans: Sequence[Span]) -> PlanT:
        """Work out, once for all layers of a step, what to write and what to read.

        Args:
            spans: at least one; their tokens lie end to end in the step's rows.

        Returns: a plan that is good until the next `plan`, or until a block changes hands.
        """
        ...

    def bind(self, plan: PlanT) -> Attend:
        """Return `attend` with this plan, as the network wants it."""
        ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layer: int, plan: PlanT) -> Tensor:
        """Store the step's k and v in the cache, then attend over all that each token may see.

        Changes the cache in place at the slots of the spans, and nowhere else; reads no slot
        that lies outside of a sequence or behind its window.

        Args:
            q: [T, H, D], rotated.  k, v: [T, K, D]; k rotated. K divides H.

        Returns: [T, H, D] in q's dtype.
        """
        ...
