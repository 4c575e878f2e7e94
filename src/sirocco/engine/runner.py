"""From a plan of integers to logits: the engine's only line that computes the network."""

from collections.abc import Sequence as Run

import torch
from torch import Tensor

from sirocco.attention.base import Span
from sirocco.attention.choice import choose_attention, choose_kv_format, make_backend
from sirocco.engine.config import EngineConfig
from sirocco.engine.scheduling.scheduler import Chunk, StepPlan
from sirocco.model.transformer import Transformer


class ModelRunner:
    """Runs the chunks of a step through the network, end to end and without padding.

    Attributes:
        model, config: what it runs, and how much at once.
        shape: of the whole network, of which the model may be a part.
        attention: which backend that is.
        backend: attention over the keys and values of all sequences.
        kv_format: how these are kept.
        n_blocks: how many blocks they are in.
    """

    def __init__(self, model: Transformer, config: EngineConfig) -> None:
        shape, device = model.config, model.device
        self.model, self.config, self._device = model, config, device
        self.shape = shape
        self.attention = choose_attention(config.attention, device=device)
        self.kv_format = choose_kv_format(
            config.kv_format,
            dtype=model.dtype,
            rounds_weights=model.rounds_weights,
            attention=self.attention,
        )
        self.n_blocks = config.n_blocks(shape, kv_format=self.kv_format, device=device)
        self.backend = make_backend(
            shape,
            attention=self.attention,
            group_size=shape.group_size,
            n_blocks=self.n_blocks,
            block_size=config.block_size,
            window=shape.window,
            kv_format=self.kv_format,
            device=device,
        )

    def run(self, plan: StepPlan) -> Tensor:
        """Write the step's keys and values, and score what may come next.

        Returns: [R, V] float32 logits on the model's device: for each chunk of `plan.sampling`
            what follows its last known token, then what follows each of its guesses.
        """
        token_ids: list[int] = []
        rows: list[int] = []
        for chunk in plan.chunks:
            token_ids += _token_ids(chunk)
            if chunk.samples:
                rows += range(len(token_ids) - 1 - len(chunk.guesses), len(token_ids))
        return self.forward(
            token_ids,
            [_span(chunk) for chunk in plan.chunks],
            torch.tensor(rows, dtype=torch.int64),
        )

    @torch.inference_mode()
    def forward(self, token_ids: Run[int], spans: Run[Span], rows: Tensor | None = None) -> Tensor:
        """Run tokens that lie end to end as the spans say.

        Args:
            rows: [R] int64, the tokens whose logits are wanted; None wants all.

        Returns: [R, V] float32 logits, on the model's device.
        """
        attend = self.backend.bind(self.backend.plan(spans))
        logits: Tensor = self.model(
            torch.tensor(token_ids).to(self._device),
            torch.cat([_positions(span) for span in spans]).to(self._device),
            attend=attend,
            rows=None if rows is None else rows.to(self._device),
        )
        return logits


def _token_ids(chunk: Chunk) -> list[int]:
    first = chunk.seq.n_computed
    return [*chunk.seq.token_ids[first : first + chunk.n_known_tokens], *chunk.guesses]


def _positions(span: Span) -> Tensor:
    return torch.arange(span.first_position, span.first_position + span.n_tokens)


def _span(chunk: Chunk) -> Span:
    table = chunk.seq.table
    assert table is not None, "a scheduled sequence has a table"
    return Span(chunk.seq.n_computed, chunk.n_tokens, table.block_ids, table.n_reclaimed)
