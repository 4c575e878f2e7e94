"""Training one of the lab's models, by `sirocco.training`, step for step."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sirocco.model.transformer import Transformer
from sirocco.training import packing, trainer
from sirocco.training.packing import Encoded
from sirocco.training.recipe import Phase, Recipe

OnStep = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Lesson:
    """How long and how fast a model learns.

    Attributes:
        seq_len, batch_size: tokens of a row; rows of a step.
        peak_lr: reached after a tenth of the steps, from which a cosine leads to a tenth of it.
    """

    steps: int
    seq_len: int
    batch_size: int
    peak_lr: float

    @property
    def n_tokens(self) -> int:
        """Tokens learnt from."""
        return self.steps * self.seq_len * self.batch_size


def learn(
    model: Transformer,
    pieces: Sequence[Encoded],
    lesson: Lesson,
    *,
    seed: int,
    on_step: OnStep = lambda: None,
) -> list[float]:
    """Train a model in place; returns the loss (nats per token) before each step.

    Args:
        seed: decides which rows come in which order, and nothing else.
    """
    model.requires_grad_(True)
    recipe = _recipe(lesson, seed)
    rows = packing.batches(
        pieces, seq_len=lesson.seq_len, batch_size=lesson.batch_size,
        steps=lesson.steps, seed=seed,
    )  # fmt: skip
    losses = []
    for progress in trainer.train_phase(
        model, trainer.make_optimizers(model, recipe), recipe, rows,
        phase="lab", first_step=0, skip=0, clock=time.perf_counter,
    ):  # fmt: skip
        losses.append(progress.loss)
        on_step()
    model.requires_grad_(False)
    model.eval()
    return losses


def _recipe(lesson: Lesson, seed: int) -> Recipe:
    return Recipe(
        name="lab",
        preset="",  # the model is there already
        seed=seed,
        seq_len=lesson.seq_len,
        batch_size=lesson.batch_size,
        peak_lr=lesson.peak_lr,
        min_lr=lesson.peak_lr / 10,
        warmup_steps=max(1, lesson.steps // 10),
        weight_decay=0.1,
        clip_norm=1.0,
        held_out=0.0,
        eval_every=lesson.steps,
        save_every=lesson.steps,
        weights="float32",
        phase=(Phase("lab", lesson.steps, "all", source=()),),
    )
