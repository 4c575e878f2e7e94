"""What a sliding window saves, and what it gives up."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean

from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine
from sirocco.engine.scoring import score
from sirocco.lab.decode import DecodeBench, StepTime
from sirocco.lab.kept import Kept, Result
from sirocco.lab.learning import OnStep
from sirocco.lab.quality import folder_of, train
from sirocco.lab.size import DecodeSize, QualitySize
from sirocco.lab.texts import Texts
from sirocco.lab.variants import Variant
from sirocco.model.linear import FORMATS
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
        losses: nats per token in it, mean over the seeds.
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
    variant: Variant, size: DecodeSize, *, kept: Kept, on_step: OnStep = lambda: None
) -> list[StepTime]:
    """Time steps of one batch, and count the blocks that it holds, over the contexts."""

    def do() -> Result:
        times: list[StepTime] = []
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
        return {"times": [asdict(time) for time in times]}

    n_steps = 2 * len(size.contexts)
    result = kept.part("decode-window", do, n_steps=n_steps, on_step=on_step)
    return [StepTime(**time) for time in result["times"]]


def losses_by_position(
    variant: Variant,
    size: QualitySize,
    texts: Texts,
    *,
    steps: int,
    kept: Kept,
    on_step: OnStep = lambda: None,
) -> list[LossByPosition]:
    """Train the variant once more with a window, all seeds, and score long texts with three.

    Without a window it has been trained already.
    """
    windowed = Variant(f"{variant.name}-window", replace(variant.shape, window=size.window))
    for seed in range(size.n_seeds):
        train(windowed, seed, size, texts, steps=steps, kept=kept, on_step=on_step)
    rows = texts.long_rows(size.long_seq_len, size.n_long_rows)

    def scored(name: str, model: Variant, window: int | None) -> LossByPosition:
        def do(seed: int) -> Result:
            folder = folder_of(model.name, kept, seed)
            return {"losses": _by_position(folder, window, texts, rows)}

        by_seed = [
            kept.part(f"by-position-{model.name}-{window}-{seed}", partial(do, seed))["losses"]
            for seed in range(size.n_seeds)
        ]
        losses = tuple(mean(of_seeds) for of_seeds in zip(*by_seed, strict=True))
        return LossByPosition(name, window, _middles(len(rows[0])), losses)

    return [
        scored("no window", variant, None),
        scored("trained without, cut to it", variant, size.window),
        scored("trained with it", windowed, size.window),
    ]


def _by_position(
    folder: Path, window: int | None, texts: Texts, rows: Sequence[Sequence[int]]
) -> list[float]:
    """Score through the engine's blocks, which it gives back behind the window."""
    model = load_model(folder, weights=FORMATS["float32"])
    model.config = replace(model.config, window=window)
    engine = Engine(model, texts.tokenizer, EngineConfig(max_seq_len=len(rows[0])))
    logprobs = [score(engine, row) for row in rows]
    length = _stretch(len(rows[0]))
    return [
        -mean(x for one in logprobs for x in one[first : first + length])
        for first in range(0, len(rows[0]) - 1, length)
    ]


def _middles(n_tokens: int) -> tuple[float, ...]:
    length = _stretch(n_tokens)
    return tuple(min(first + length / 2, n_tokens) for first in range(0, n_tokens - 1, length))


def _stretch(n_tokens: int) -> int:
    return -(-n_tokens // N_STRETCHES)
