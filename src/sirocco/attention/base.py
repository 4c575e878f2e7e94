"""The seam between the network and the place where keys and values live.

The network calls one function per layer, `Attend`. Where the keys of earlier steps are,
which sequences a step mixes, and which device computes is the backend's business.
"""

from typing import Protocol

from torch import Tensor


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
