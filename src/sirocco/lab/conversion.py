"""From multi-head attention to fewer KV heads: pooled, then trained on for a few of the steps."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from sirocco.lab.kept import Kept, Result
from sirocco.lab.learning import Lesson, OnStep, learn
from sirocco.lab.quality import Trained, folder_of, held_out_of, save
from sirocco.lab.size import UP_TRAINING_SHARE, QualitySize
from sirocco.lab.texts import Texts
from sirocco.model.pooling import pool_checkpoint
from sirocco.model.weights import load_model
from sirocco.training import trainer

UP_TRAINING_SEED = 1_000_003
"""Other rows than those of any training from random weights."""


@dataclass(frozen=True, slots=True)
class Converted:
    """Losses of a model with fewer KV heads, nats per token on the held-out rows.

    Attributes:
        pooled: right after its heads were made of the means of the multi-head model's.
        up_trained: after a few steps more.
        from_scratch: of the variant that had these KV heads from the beginning, same seed. It has
            as many parameters as the multi-head model, and this one fewer.
    """

    variant: str
    n_kv_heads: int
    n_parameters: int
    pooled: float
    up_trained: float
    from_scratch: float


@dataclass(frozen=True, slots=True)
class ConversionStudy:
    """What conversion costs.

    Attributes:
        before: loss of the multi-head model.
        before_trained_on: its loss after as many steps more, without any conversion.
        steps: of up-training.
    """

    before: float
    before_trained_on: float
    steps: int
    rows: tuple[Converted, ...]


def up_training(size: QualitySize, steps: int) -> Lesson:
    """Lay out the steps after pooling: few, and at half the rate of the first training."""
    n_steps = max(5, round(UP_TRAINING_SHARE * steps))
    return Lesson(n_steps, size.seq_len, size.batch_size, size.peak_lr / 2)


def study_conversion(
    trained: Sequence[Trained],
    size: QualitySize,
    texts: Texts,
    *,
    steps: int,
    kept: Kept,
    on_step: OnStep = lambda: None,
) -> ConversionStudy:
    """Convert the study's multi-head model to each smaller number of KV heads."""
    held_out = held_out_of(size, texts)
    lesson = up_training(size, steps)
    mha, *fewer = trained
    source = folder_of(mha.variant, kept)

    def converted(of: Trained) -> Result:
        """Parameters, loss as it is, loss after up-training, of a model that is saved then."""

        def do() -> Result:
            folder = folder_of(f"{mha.variant}-to-{of.variant}", kept)
            if of.n_kv_heads == mha.n_kv_heads:
                shutil.copytree(source, folder, dirs_exist_ok=True)
            else:
                pool_checkpoint(source, folder, of.n_kv_heads)
            model = load_model(folder)
            before = trainer.evaluate(model, held_out)
            learn(model, texts.learnt, lesson, seed=UP_TRAINING_SEED, on_step=on_step)
            save(model, folder, kept)
            after = trainer.evaluate(model, held_out)
            return {"n_parameters": model.config.n_parameters, "before": before, "after": after}

        return kept.part(f"conversion-{of.variant}", do, n_steps=lesson.steps, on_step=on_step)

    control = converted(mha)
    rows = []
    for variant in fewer:
        result = converted(variant)
        rows.append(
            Converted(
                variant.variant, variant.n_kv_heads, result["n_parameters"],
                result["before"], result["after"], variant.losses[0],
            )
        )  # fmt: skip
    return ConversionStudy(control["before"], control["after"], lesson.steps, tuple(rows))
