"""What the variants learn: the same rows, the same seeds, as many parameters."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from time import perf_counter

from sirocco.lab.kept import Kept, Result
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
    kept: Kept,
    on_step: OnStep = lambda: None,
) -> list[Trained]:
    """Train every variant with every seed; all of them become checkpoints.

    One seed after the other: what is done of a study that is broken off can be compared.
    """
    results = [
        [train(v, seed, size, texts, steps=steps, kept=kept, on_step=on_step) for v in variants]
        for seed in range(size.n_seeds)
    ]
    return [
        Trained(
            variant.name, variant.shape.n_kv_heads, variant.shape.hidden_dim,
            variant.shape.n_parameters,
            tuple(result["loss"] for result in of_variant), tuple(of_variant[0]["curve"]),
        )
        for variant, of_variant in zip(variants, zip(*results, strict=True), strict=True)
    ]  # fmt: skip


def train(
    variant: Variant,
    seed: int,
    size: QualitySize,
    texts: Texts,
    *,
    steps: int,
    kept: Kept,
    on_step: OnStep = lambda: None,
) -> Result:
    """Train one model to a checkpoint; returns its held-out `loss`, and the `curve` of its steps.

    Args:
        seed: of its first weights, and of which rows it sees in which order.
    """

    def do() -> Result:
        model = random_model(variant.shape, seed=seed)
        curve = learn(model, texts.learnt, lesson_of(size, steps), seed=seed, on_step=on_step)
        save(model, folder_of(variant.name, kept, seed), kept)
        return {"loss": trainer.evaluate(model, held_out_of(size, texts)), "curve": curve}

    return kept.part(f"training-{variant.name}-{seed}", do, n_steps=steps, on_step=on_step)


def folder_of(name: str, kept: Kept, seed: int = 0) -> Path:
    """Where a model of the study lies."""
    return kept.folder / "models" / f"{name.lower()}-{seed}"


def save(model: Transformer, folder: Path, kept: Kept) -> None:
    """Write a checkpoint that the engine loads, with the study's vocabulary."""
    save_model(model, folder)
    shutil.copy(kept.folder / "tokenizer.json", folder)
