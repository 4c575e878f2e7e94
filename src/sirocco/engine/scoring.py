"""How likely a model finds a given text: through the same blocks and kernels that generate it."""

from collections.abc import Sequence

import torch

from sirocco.attention.base import Span
from sirocco.engine.engine import Engine
from sirocco.errors import OutOfCapacity, PromptTooLong


def score(engine: Engine, token_ids: Sequence[int]) -> list[float]:
    """Log-probability (nats) of each token after the first: len(token_ids) − 1 numbers.

    It takes free blocks for as long as it runs, and gives back those behind the window.

    Raises: PromptTooLong; OutOfCapacity if other sequences hold too many blocks.
    """
    if len(token_ids) > engine.limit_tokens:
        raise PromptTooLong(len(token_ids), 0, engine.limit_tokens)
    blocks, window = engine.scheduler.blocks, engine.model.config.window
    table = blocks.open()
    logprobs: list[float] = []
    try:
        for first in range(0, len(token_ids) - 1, engine.config.max_step_tokens):
            chunk = token_ids[first : first + engine.config.max_step_tokens]
            if not blocks.can_grow(table, first + len(chunk)):
                raise OutOfCapacity(f"{blocks.n_free} free blocks cannot hold the text to score")
            blocks.grow(table, first + len(chunk))
            span = Span(first, len(chunk), table.block_ids, table.n_reclaimed)
            following = torch.tensor(token_ids[first + 1 : first + 1 + len(chunk)])
            logits = engine.runner.forward(chunk, [span])[: len(following)].cpu()
            chosen = logits.log_softmax(dim=1).gather(1, following[:, None])
            logprobs += chosen.flatten().tolist()
            if window is not None:
                blocks.reclaim(table, first + len(chunk) - window + 1)
    finally:
        blocks.close(table)
    return logprobs
