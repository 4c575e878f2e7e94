"""One network on several devices: each has some of the heads and some of the inner channels.

Every rank runs the same steps. Projections into heads and inner channels are cut by rows, those
back to the residual stream by columns, so each rank has a part of every sum, and the parts are
added up twice a layer. Embedding, norms and head are whole everywhere.

Source: Shoeybi 2019 §3 (Megatron-LM).
"""

from dataclasses import replace

import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from sirocco.errors import ConfigError
from sirocco.model.config import ModelConfig
from sirocco.model.layers import Layer
from sirocco.model.transformer import Transformer


class SummedLinear(nn.Module):
    """x Wᵀ where each rank has some columns of W and of x; the sum is the same on every rank."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, K / ranks] → [T, N]."""
        part = F.linear(x, self.weight)
        dist.all_reduce(part)
        return part


def config_of_rank(config: ModelConfig, n_ranks: int) -> ModelConfig:
    """Give the shape of one rank's part. Raises: ConfigError if heads cannot be shared out."""
    for name in ("n_heads", "n_kv_heads", "hidden_dim"):
        if getattr(config, name) % n_ranks:
            raise ConfigError(
                f"{name} {getattr(config, name)} cannot be shared out among {n_ranks} devices"
            )
    return replace(
        config, n_heads=config.n_heads // n_ranks, n_kv_heads=config.n_kv_heads // n_ranks,
        hidden_dim=config.hidden_dim // n_ranks,
    )  # fmt: skip


def keep_part(model: Transformer) -> None:
    """Cut a whole network of torch's own layers down to this rank's part, in place.

    Heads of a group stay together: rank r has the r-th part of the KV heads and their queries.

    Raises: ConfigError if the shape or the format of the weights does not allow it.
    """
    rank, n_ranks = dist.get_rank(), dist.get_world_size()
    model.config = config_of_rank(model.config, n_ranks)
    for layer in model.layers:
        assert isinstance(layer, Layer)
        attention, feed_forward = layer.attention, layer.feed_forward
        for owner, name in (
            (attention, "wq"), (attention, "wk"), (attention, "wv"),
            (feed_forward, "w1"), (feed_forward, "w3"),
        ):  # fmt: skip
            whole = _plain(getattr(owner, name), name)
            whole.weight = nn.Parameter(
                whole.weight.chunk(n_ranks, dim=0)[rank].clone(), requires_grad=False
            )
        for owner, name in ((attention, "wo"), (feed_forward, "w2")):
            whole = _plain(getattr(owner, name), name)
            setattr(owner, name, SummedLinear(whole.weight.chunk(n_ranks, dim=1)[rank].clone()))


def _plain(layer: object, name: str) -> nn.Linear:
    if not isinstance(layer, nn.Linear):
        raise ConfigError(f"{name} is {type(layer).__name__}; only float weights can be shared out")
    return layer
