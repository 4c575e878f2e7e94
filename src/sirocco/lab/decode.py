"""Times the steps in which an engine writes: the very engine that serves, with random weights.

What is in the KV cache does not change how long a step takes, so it is filled with random numbers
instead of computing tens of thousands of tokens first. The blocks are handed out by the engine's
own block manager, and the step is the runner's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from sirocco.attention.base import Span
from sirocco.attention.native_paged import NativePagedBackend
from sirocco.attention.sdpa import SdpaBackend
from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine
from sirocco.kvcache.block_manager import BlockManager, BlockTable, blocks_for
from sirocco.lab.variants import Variant
from sirocco.model.linear import FORMATS
from sirocco.model.random_model import random_model
from sirocco.native import is_built
from sirocco.tokenizer.byte import ByteTokenizer

MAX_BATCH = 4096
"""Sequences in one step at most."""

CHUNK = 512
"""Tokens after which a sequence gives back what is behind its window, as in the engine."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long a decode step takes.

    Attributes:
        variant, n_kv_heads, window: of the network.
        context: tokens of each sequence, the one of this step included.
        batch: sequences in the step, each of which gains one token.
        kv_held_bytes: blocks that these sequences hold.
        step_s: median of several steps.
        attention_s: median time of attention alone over the same blocks, all layers.
    """

    variant: str
    n_kv_heads: int
    window: int | None
    context: int
    batch: int
    kv_held_bytes: int
    step_s: float
    attention_s: float

    @property
    def tokens_per_s(self) -> float:
        """Of all sequences together."""
        return self.batch / self.step_s

    @property
    def weights_s(self) -> float:
        """What is not attention: above all the products with the weights."""
        return max(0.0, self.step_s - self.attention_s)


class DecodeBench:
    """An engine whose KV cache is full of random numbers.

    Args:
        variant: the network's shape; weights are q8, as on a CPU that serves, where our kernels
            are built, and keys and values then float16.
        kv_cache_bytes: size of the KV cache.
        n_runs: steps of which a median is taken.
    """

    def __init__(self, variant: Variant, *, kv_cache_bytes: int, n_runs: int) -> None:
        self._variant, self._n_runs = variant, n_runs
        shape = variant.shape
        self.weights = "q8" if is_built() else "float32"
        self.engine = Engine(
            random_model(shape, weights=FORMATS[self.weights]),
            ByteTokenizer(vocab_size=shape.vocab_size),
            EngineConfig(
                kv_cache_bytes=kv_cache_bytes,
                max_running=MAX_BATCH,
                max_step_tokens=MAX_BATCH,
                prefix_cache=False,
            ),
        )
        backend = self.engine.runner.backend
        assert isinstance(backend, NativePagedBackend | SdpaBackend), "what a CPU computes with"
        cache = backend.cache
        self.block_bytes: int = (cache.k[0][0].nbytes + cache.v[0][0].nbytes) * shape.n_layers
        _fill((*cache.k, *cache.v))

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes that a token takes in the cache, all layers together."""
        return self.block_bytes / self._blocks.block_size

    def largest_batch(self, context: int) -> int:
        """Sequences of this length whose blocks fit."""
        per_sequence = self.n_blocks_held(context)
        return min(MAX_BATCH, self._blocks.n_blocks // per_sequence)

    def n_blocks_held(self, context: int) -> int:
        """Blocks that a sequence holds in the step that writes its last token."""
        size = self._blocks.block_size
        roomy = BlockManager(blocks_for(context, size), size)
        table = roomy.open()
        _grow(roomy, table, context, self._variant.shape.window)
        return len(table.block_ids)

    def measure(self, context: int, batch: int) -> StepTime:
        """Time decode steps in which `batch` sequences have `context` tokens each."""
        with self._sequences(context, batch) as spans, torch.inference_mode():
            step_s, attention_s = _medians(self._step(spans), self._attention(spans), self._n_runs)
            n_blocks = sum(len(span.block_ids) for span in spans)
        shape = self._variant.shape
        return StepTime(
            self._variant.name, shape.n_kv_heads, shape.window, context, batch,
            n_blocks * self.block_bytes, step_s, attention_s,
        )  # fmt: skip

    @property
    def _blocks(self) -> BlockManager:
        return self.engine.scheduler.blocks

    @contextmanager
    def _sequences(self, context: int, batch: int) -> Iterator[list[Span]]:
        window = self._variant.shape.window
        tables: list[BlockTable] = []
        try:
            for _ in range(batch):
                tables.append(self._blocks.open())
                _grow(self._blocks, tables[-1], context, window)
            yield [Span(context - 1, 1, t.block_ids, t.n_reclaimed) for t in tables]
        finally:
            for table in tables:
                self._blocks.close(table)

    def _step(self, spans: list[Span]) -> Callable[[], object]:
        token_ids = [3 + i % 256 for i in range(len(spans))]
        return lambda: self.engine.runner.forward(token_ids, spans)

    def _attention(self, spans: list[Span]) -> Callable[[], object]:
        """All layers' attention of such a step, and nothing else."""
        shape, backend = self._variant.shape, self.engine.runner.backend
        q = torch.randn(len(spans), shape.n_heads, shape.head_dim)
        k, v = torch.randn(2, len(spans), shape.n_kv_heads, shape.head_dim)
        plan = backend.plan(spans)

        def attend() -> None:
            for layer in range(shape.n_layers):
                backend.attend(q, k, v, layer, plan)

        return attend


def _grow(blocks: BlockManager, table: BlockTable, context: int, window: int | None) -> None:
    """Take a sequence's blocks as the engine does: chunk by chunk, then for one token more."""
    n_computed = 0
    for end in (*range(CHUNK, context - 1, CHUNK), context - 1, context):
        if window is not None:
            blocks.reclaim(table, n_computed - window + 1)
        blocks.grow(table, end)
        n_computed = end


def _fill(tensors: tuple[Tensor, ...]) -> None:
    """Write random numbers into every slot.

    Memory that was never written is one page of zeros, which a processor reads from its cache.
    """
    some = torch.randn(2**20, generator=torch.Generator().manual_seed(0))
    for tensor in tensors:
        flat = tensor.view(-1)
        for first in range(0, len(flat), len(some)):
            part = flat[first : first + len(some)]
            part.copy_(some[: len(part)])


def _medians(
    one: Callable[[], object], other: Callable[[], object], n_runs: int
) -> tuple[float, float]:
    """Medians of the seconds of two works that take turns, after a turn to warm up."""
    times: list[tuple[float, float]] = []
    for _ in range(n_runs + 1):
        started = perf_counter()
        one()
        between = perf_counter()
        other()
        times.append((between - started, perf_counter() - between))
    first, second = zip(*times[1:], strict=True)
    return median(first), median(second)
