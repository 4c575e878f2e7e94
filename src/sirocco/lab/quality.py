"""What the variants learn: the same rows, the same seeds, as many parameters."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from time import perf_counter

from sirocco.lab.learning import Lesson, OnStep, learn
from sirocco.lab.size import QualitySize
from sirocco.lab.texts import Texts
from sirocco.lab.variants import Variant
from sirocco.model.random_model import random_model
from sirocco.model.transformer import Transformer
from sirocco.model.weights import save_model
from sirocco.training import trainer
from sirocco.training.packing import Batch


@dataclass(frozen=True, slots=True)
class Trained:
    """A variant after training.

    Attributes:
        losses: on the held-out rows, nats per token, one for each seed.
        curve: loss on the rows of each step, first seed.
    """

    variant: str
    n_kv_heads: int
    hidden_dim: int
    n_parameters: int
    losses: tuple[float, ...]
    curve: tuple[float, ...]

    @property
    def loss(self) -> float:
        """Mean over the seeds."""
        return mean(self.losses)

    @property
    def spread(self) -> float:
        """Largest minus smallest loss of the seeds."""
        return max(self.losses) - min(self.losses)


def excess(trained: Trained, base: Trained) -> tuple[float, float]:
    """How much more one loses than the other: mean over the seeds, and largest minus smallest.

    Seed by seed, which takes out what both had from the seed: its rows and their order.
    """
    differences = [a - b for a, b in zip(trained.losses, base.losses, strict=True)]
    return mean(differences), max(differences) - min(differences)


def steps_that_fit(size: QualitySize, texts: Texts, variant: Variant) -> int:
    """Measure a step of this variant, and count those that the time allows for."""
    started = perf_counter()
    learn(random_model(variant.shape), texts.learnt, lesson_of(size, 4), seed=0)
    return size.steps_for((perf_counter() - started) / 4)


def lesson_of(size: QualitySize, steps: int) -> Lesson:
    """Lay out a training from random weights."""
    return Lesson(steps, size.seq_len, size.batch_size, size.peak_lr)


def held_out_of(size: QualitySize, texts: Texts) -> list[Batch]:
    """Cut the rows that all models are judged by."""
    return texts.held_out_batches(
        seq_len=size.seq_len, batch_size=size.batch_size, n=size.n_held_out
    )


def train_variants(
    variants: Sequence[Variant],
    size: QualitySize,
    texts: Texts,
    *,
    steps: int,
    work: Path,
    on_step: OnStep = lambda: None,
) -> list[Trained]:
    """Train every variant with every seed; the first seed's become checkpoints in `work`."""
    held_out = held_out_of(size, texts)
    trained = []
    for variant in variants:
        losses: list[float] = []
        curves: list[list[float]] = []
        for seed in range(size.n_seeds):
            model = random_model(variant.shape, seed=seed)
            curves.append(
                learn(model, texts.learnt, lesson_of(size, steps), seed=seed, on_step=on_step)
            )
            losses.append(trainer.evaluate(model, held_out))
            if seed == 0:
                save(model, folder_of(variant.name, work), work)
        shape = variant.shape
        trained.append(
            Trained(
                variant.name, shape.n_kv_heads, shape.hidden_dim, shape.n_parameters,
                tuple(losses), tuple(curves[0]),
            )
        )  # fmt: skip
    return trained


def folder_of(name: str, work: Path) -> Path:
    """Where a model of the study lies."""
    return work / "models" / name.lower()


def save(model: Transformer, folder: Path, work: Path) -> None:
    """Write a checkpoint that the engine loads, with the study's vocabulary."""
    save_model(model, folder)
    shutil.copy(work / "tokenizer.json", folder)
