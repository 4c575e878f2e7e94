"""Steps of one engine on several ranks: the first decides, and all compute.

Rank 0 has the engine. Before each forward pass it tells the others what it runs; they own the
same blocks, so the same integers say where keys and values are. Ranks are started in the way of
torch.distributed; rank 0 makes an `Engine` with `ParallelRunner`, the others `follow`.
"""

from collections.abc import Sequence as Run
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sirocco.attention.base import Span
from sirocco.engine.config import EngineConfig
from sirocco.engine.runner import ModelRunner
from sirocco.model.parallel import keep_part
from sirocco.model.transformer import Transformer


class ParallelRunner(ModelRunner):
    """Rank 0's runner: it tells the other ranks of every forward pass.

    The network is cut down to this rank's part, in place.
    """

    def __init__(self, model: Transformer, config: EngineConfig) -> None:
        keep_part(model)
        super().__init__(model, config)
        self._agree_on_blocks()

    def forward(self, token_ids: Run[int], spans: Run[Span], rows: Tensor | None = None) -> Tensor:
        """See `ModelRunner.forward`."""
        if dist.get_rank() == 0:
            told: list[Any] = [(list(token_ids), [_plain(span) for span in spans], rows)]
            dist.broadcast_object_list(told, src=0)
        return super().forward(token_ids, spans, rows)

    def follow(self) -> None:
        """Compute what rank 0 runs, until it is done. This is what the other ranks do."""
        while True:
            told: list[Any] = [None]
            dist.broadcast_object_list(told, src=0)
            if told[0] is None:
                return
            token_ids, spans, rows = told[0]
            super().forward(token_ids, spans, rows)

    def finish(self) -> None:
        """Let the other ranks go. Only rank 0 may say so."""
        dist.broadcast_object_list([None], src=0)

    def _agree_on_blocks(self) -> None:
        """Take as many blocks as the rank with the least memory has room for."""
        least = torch.tensor([self.n_blocks], device=self.model.device)
        dist.all_reduce(least, op=dist.ReduceOp.MIN)
        self.n_blocks = int(least)


def _plain(span: Span) -> Span:
    """Copy a span whose block ids will change while it is on its way."""
    return Span(span.first_position, span.n_tokens, list(span.block_ids), span.n_reclaimed)
