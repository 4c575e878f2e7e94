"""Up-training of a pooled checkpoint, on texts of the reader's own."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from sirocco.lab.learning import Lesson, OnStep, learn
from sirocco.lab.texts import encode_texts
from sirocco.model.weights import load_model, save_model, weight_files
from sirocco.tokenizer import load_tokenizer
from sirocco.training import trainer

N_HELD_OUT = 16
"""Batches to judge by."""


@dataclass(frozen=True, slots=True)
class UpTrained:
    """What the steps brought: loss on held-out texts, nats per token, before and after."""

    before: float
    after: float


def up_train(
    folder: Path, out: Path, data: Path, lesson: Lesson, *, on_step: OnStep = lambda: None
) -> UpTrained:
    """Train a checkpoint on, and write it to another folder, in the dtype that it has.

    Args:
        data: folder of texts, of which a tenth is held out.

    Raises: ConfigError if the texts cannot be read or are too short; CheckpointError.
    """
    texts = encode_texts(data, load_tokenizer(folder))
    model = load_model(folder)
    held_out = texts.held_out_batches(
        seq_len=lesson.seq_len, batch_size=lesson.batch_size, n=N_HELD_OUT
    )
    before = trainer.evaluate(model, held_out)
    learn(model, texts.learnt, lesson, seed=0, on_step=on_step)
    save_model(model, out, dtype=_dtype_of(folder))
    return UpTrained(before, trainer.evaluate(model, held_out))


def _dtype_of(folder: Path) -> torch.dtype:
    with safe_open(weight_files(folder)[0], framework="pt") as file:
        dtype: torch.dtype = file.get_tensor(next(iter(file.keys()))).dtype
    return dtype
