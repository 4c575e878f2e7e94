"""What a sliding window saves, and what it gives up."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine
from sirocco.engine.scoring import score
from sirocco.lab.decode import DecodeBench, StepTime
from sirocco.lab.learning import OnStep, learn
from sirocco.lab.quality import folder_of, lesson_of, save
from sirocco.lab.size import DecodeSize, QualitySize
from sirocco.lab.texts import Texts
from sirocco.lab.variants import Variant
from sirocco.model.linear import FORMATS
from sirocco.model.random_model import random_model
from sirocco.model.weights import load_model

N_STRETCHES = 16
"""Stretches of a long text over which losses are averaged."""


@dataclass(frozen=True, slots=True)
class LossByPosition:
    """How well a model goes on with long texts, the further it is in them.

    Attributes:
        name: of the model, for people.
        window: that it computes with.
        positions: the middle of each stretch.
        losses: nats per token in it.
    """

    name: str
    window: int | None
    positions: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WindowStudy:
    """With and without a window.

    Attributes:
        decode: steps of one batch over the contexts, without a window, then with it.
        trained_seq_len: tokens of a row in training, beyond which a model was never asked.
        by_position: of a model without a window, of it cut to one, of a model trained with one.
    """

    decode: tuple[StepTime, ...]
    trained_seq_len: int
    by_position: tuple[LossByPosition, ...]


def time_window(
    variant: Variant, size: DecodeSize, *, on_step: OnStep = lambda: None
) -> list[StepTime]:
    """Time steps of one batch, and count the blocks that it holds, over the contexts."""
    times = []
    for window in (None, size.window):
        shape = replace(variant.shape, window=window)
        bench = DecodeBench(
            Variant(variant.name, shape), kv_cache_bytes=size.kv_cache_bytes, n_runs=size.n_runs
        )
        if window is None:
            batch = bench.largest_batch(max(size.contexts))
        for context in size.contexts:
            times.append(bench.measure(context, batch))
            on_step()
    return times


def losses_by_position(
    variant: Variant,
    size: QualitySize,
    texts: Texts,
    *,
    steps: int,
    work: Path,
    on_step: OnStep = lambda: None,
) -> list[LossByPosition]:
    """Train one more model, with a window, and score long texts with three.

    The variant itself is in `work` already, trained without a window.
    """
    plain = folder_of(variant.name, work)
    windowed = folder_of(f"{variant.name}-window", work)
    model = random_model(replace(variant.shape, window=size.window), seed=0)
    learn(model, texts.learnt, lesson_of(size, steps), seed=0, on_step=on_step)
    save(model, windowed, work)
    rows = texts.long_rows(size.long_seq_len, size.n_long_rows)
    return [
        _by_position("no window", plain, None, texts, rows),
        _by_position("trained without, cut to it", plain, size.window, texts, rows),
        _by_position("trained with it", windowed, size.window, texts, rows),
    ]


def _by_position(
    name: str, folder: Path, window: int | None, texts: Texts, rows: Sequence[Sequence[int]]
) -> LossByPosition:
    """Score through the engine's blocks, which it gives back behind the window."""
    model = load_model(folder, weights=FORMATS["float32"])
    model.config = replace(model.config, window=window)
    n_tokens = len(rows[0])
    engine = Engine(model, texts.tokenizer, EngineConfig(max_seq_len=n_tokens))
    logprobs = [score(engine, row) for row in rows]
    length = -(-n_tokens // N_STRETCHES)
    positions, losses = [], []
    for first in range(0, n_tokens - 1, length):
        stretch = [x for one in logprobs for x in one[first : first + length]]
        positions.append(min(first + length / 2, n_tokens))
        losses.append(-sum(stretch) / len(stretch))
    return LossByPosition(name, window, tuple(positions), tuple(losses))
