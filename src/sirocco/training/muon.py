"""Muon: momentum whose singular values are all made one, for the matrices inside the layers.

`torch.optim.Muon` does the same in bfloat16. A CPU without bfloat16 units computes that ten
times slower than float32, so here it is float32 there, with all matrices of one shape at once.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration. Source: Jordan 2024, "Muon"."""


class Muon(torch.optim.Optimizer):
    """Steps whose size matches AdamW's, so that one learning rate serves both.

    Source: Jordan 2024; Liu 2025 (arXiv 2502.16982) §2.2 for the factor 0.2 √max(rows, columns).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        """params: matrices [rows, columns]; the decay is decoupled, as in AdamW."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient; `closure` is torch's, and not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for same in by_shape.values():
                self._move(same, group)

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Move matrices of one shape."""
        directions = [self._nesterov(parameter, group["momentum"]) for parameter in parameters]
        rows, columns = parameters[0].shape
        size = group["lr"] * 0.2 * max(rows, columns) ** 0.5
        for parameter, direction in zip(
            parameters, orthogonalized(torch.stack(directions)), strict=True
        ):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(direction, alpha=-size)

    def _nesterov(self, parameter: Tensor, momentum: float) -> Tensor:
        state = self.state[parameter]
        assert parameter.grad is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum"], momentum)


def orthogonalized(matrices: Tensor, n_iterations: int = 5) -> Tensor:
    """Bring all singular values of each matrix to about one (0.7 … 1.2), and keep its vectors.

    Args:
        matrices: [n, rows, columns] float32; on a GPU the products are bfloat16.

    Source: the Newton-Schulz iteration of Jordan 2024.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    if x.is_cuda:
        x = x.bfloat16()
    a, b, c = COEFFICIENTS
    for _ in range(n_iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    result: Tensor = (x.mT if is_tall else x).to(matrices.dtype)
    return result
