"""One network on several devices: each has some of the heads and some of the inner channels.

Every rank runs the same steps. Projections into heads and inner channels are cut by rows, those
back to the residual stream by columns, so each rank has a part of every sum, and the parts are
added up twice a layer. Embedding, norms and head are whole everywhere.

Source: Shoeybi 2019 §3 (Megatron-LM).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sirocco.errors import ConfigError
from sirocco.model.config import ModelConfig
from sirocco.model.layers import Layer
from sirocco.model.linear import Summed
from sirocco.model.transformer import Transformer

_CUT_BY_ROWS = ("wq.weight", "wk.weight", "wv.weight", "w1.weight", "w3.weight")
_CUT_BY_COLUMNS = ("wo.weight", "w2.weight")


@dataclass(frozen=True, slots=True)
class Part:
    """What one of several devices has of a network.

    Attributes:
        rank, n_ranks: which device, of how many.
    """

    rank: int = 0
    n_ranks: int = 1

    def of(self, name: str, weight: Tensor) -> Tensor:
        """Give this rank's part of a whole parameter: a view.

        Heads of a group stay together: rank r has the r-th part of the KV heads and their queries.
        """
        if self.n_ranks > 1 and name.endswith(_CUT_BY_ROWS):
            return weight.chunk(self.n_ranks, dim=0)[self.rank]
        if self.n_ranks > 1 and name.endswith(_CUT_BY_COLUMNS):
            return weight.chunk(self.n_ranks, dim=1)[self.rank]
        return weight

    def join(self, model: Transformer) -> None:
        """Let a network that has its parts add up with those of the other ranks."""
        if self.n_ranks == 1:
            return
        for layer in model.layers:
            assert isinstance(layer, Layer)
            for owner, name in ((layer.attention, "wo"), (layer.feed_forward, "w2")):
                setattr(owner, name, Summed(getattr(owner, name)))


WHOLE = Part()
"""A network that one device has alone."""


def network_of(config: ModelConfig, part: Part) -> Transformer:
    """Make the network of a part, without weights. Raises: ConfigError if it cannot be cut so."""
    with torch.device("meta"):
        return Transformer(config_of_rank(config, part.n_ranks))


def config_of_rank(config: ModelConfig, n_ranks: int) -> ModelConfig:
    """Give the shape of one rank's part. Raises: ConfigError if heads cannot be shared out."""
    for name in ("n_heads", "n_kv_heads", "hidden_dim"):
        if getattr(config, name) % n_ranks:
            raise ConfigError(
                f"{name} {getattr(config, name)} cannot be shared out among {n_ranks} GPUs: "
                f"it must be a multiple of {n_ranks}"
            )
    return replace(
        config, n_heads=config.n_heads // n_ranks, n_kv_heads=config.n_kv_heads // n_ranks,
        hidden_dim=config.hidden_dim // n_ranks,
    )  # fmt: skip
