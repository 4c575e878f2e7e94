"""A whole run: texts → vocabulary → batches → steps → a checkpoint in the Hugging Face layout."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sirocco.errors import BackendUnavailable, ConfigError
from sirocco.model.presets import preset
from sirocco.model.random_model import random_model
from sirocco.model.transformer import Transformer
from sirocco.model.weights import load_model, save_model
from sirocco.tokenizer import load_tokenizer
from sirocco.tokenizer.base import Tokenizer
from sirocco.training import packing, trainer
from sirocco.training.bpe import train_tokenizer
from sirocco.training.corpus import Document, is_held_out, read_source, with_system
from sirocco.training.curve import loss_curve
from sirocco.training.packing import Batch, Encoded
from sirocco.training.recipe import Phase, Recipe, Source
from sirocco.training.state import RunLog, load_state, save_state
from sirocco.training.trainer import Progress

TEMPLATE = "breeze"
N_HELD_OUT_BATCHES = 8
CURVE = "loss.svg"
"""The run's losses as a picture, in its folder, drawn anew with every state that is saved."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told how a run goes."""

    said: Callable[[str], None]
    stepped: Callable[[Progress], None]


def run_recipe(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool,
    device: str,
    listener: Listener,
    start: Path | None = None,
) -> RunLog:
    """Train by a recipe into the folder `out`; a resumed run ends as an unbroken one would.

    Args:
        start: folder of a checkpoint whose weights, shape and tokenizer the run begins with;
            None draws random weights of the recipe's preset and learns a vocabulary.
            A resumed run is given the same one.

    Raises: ConfigError if `out` holds a run and `resume` is False, or a source is unreadable;
        CheckpointError if there is no run to resume.
    """
    if not resume and (out / "state.safetensors").exists():
        raise ConfigError(f"{out} holds a run already: add --resume to go on, or name another")
    out.mkdir(parents=True, exist_ok=True)
    if start is not None:
        shutil.copyfile(start / "tokenizer.json", out / "tokenizer.json")
    tokenizer = _tokenizer(recipe, data, out, listener)
    run = _Run(_first_model(recipe, start, device), recipe, out, listener=listener)
    if resume:
        run.log = load_state(out, run.model, run.optimizers)
    first_step = 0
    for number, phase in enumerate(recipe.phase):
        if run.log.step < first_step + phase.steps:
            listener.said(f"{phase.name}: reading and encoding the texts")
            texts = _PhaseTexts(recipe, number, data=data, tokenizer=tokenizer, device=device)
            run.train(phase, texts, first_step)
        first_step += phase.steps
    save_model(run.model, out, dtype=getattr(torch, recipe.weights))
    return run.log


def _first_model(recipe: Recipe, start: Path | None, device: str) -> Transformer:
    if start is not None:
        return load_model(start, device=device)
    return random_model(preset(recipe.preset), seed=recipe.seed, device=device)


def check_device(device: str) -> None:
    """Raise BackendUnavailable unless torch can compute on the device."""
    if device not in ("cpu", "cuda"):
        raise BackendUnavailable(f"device {device!r} is not cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable("device 'cuda' was asked for, but torch finds no GPU here")


class _Run:
    """A network on its way through the steps, with its optimiser and its log."""

    def __init__(
        self, model: Transformer, recipe: Recipe, out: Path, *, listener: Listener
    ) -> None:
        self._recipe, self._out, self._listener = recipe, out, listener
        self.model = model.requires_grad_(True)
        self.optimizers = trainer.make_optimizers(self.model, recipe)
        self.log = RunLog()

    def train(self, phase: Phase, texts: "_PhaseTexts", first_step: int) -> None:
        """Do what is left of one phase, evaluating and saving on the way."""
        recipe, last = self._recipe, first_step + phase.steps
        for progress in trainer.train_phase(
            self.model, self.optimizers, recipe, texts.batches(), phase=phase.name,
            first_step=first_step, skip=self.log.step - first_step, clock=time.perf_counter,
        ):  # fmt: skip
            self._listener.stepped(progress)
            self._note(progress)
            if _is_due(progress.step, recipe.eval_every, last):
                self._evaluate(phase, texts)
            if _is_due(progress.step, recipe.save_every, last):
                save_state(self._out, self.model, self.optimizers, self.log)
                picture = loss_curve(self.log, recipe.name)
                (self._out / CURVE).write_text(picture, encoding="utf-8")

    def _evaluate(self, phase: Phase, texts: "_PhaseTexts") -> None:
        held_out = texts.held_out_batches()
        if held_out:
            loss = trainer.evaluate(self.model, held_out)
            self.log.held_out.append((self.log.step, phase.name, round(loss, 4)))
            self._listener.said(f"step {self.log.step}, {phase.name}: held-out loss {loss:.3f}")

    def _note(self, progress: Progress) -> None:
        self.log.step = progress.step
        self.log.train_s += self._recipe.tokens_per_step / progress.tokens_per_s
        self.log.losses.append((progress.step, round(progress.loss, 4)))


class _PhaseTexts:
    """One phase's documents, encoded once, split into what is learnt and what is held out."""

    def __init__(
        self, recipe: Recipe, number: int, *, data: Path, tokenizer: Tokenizer, device: str
    ) -> None:
        self._recipe, self._phase, self._device = recipe, recipe.phase[number], device
        self._seed = recipe.seed * 1000 + number
        rng = np.random.default_rng(self._seed)
        self._learnt: list[Encoded] = []
        self._held_out: list[Encoded] = []
        for source in self._phase.source:
            documents = read_source(source.path, data, seed=self._seed)
            aside = [d for d in documents if is_held_out(d, recipe.held_out)]
            kept = [d for d in documents if not is_held_out(d, recipe.held_out)]
            chosen = packing.repeated(kept, source.repeat, rng)
            encoded = {d: self._encoded(d, source, tokenizer) for d in {*chosen, *aside}}
            self._learnt += [encoded[d] for d in chosen]
            self._held_out += [encoded[d] for d in aside]

    def _encoded(self, document: Document, source: Source, tokenizer: Tokenizer) -> Encoded:
        shown = with_system(document, self._recipe.systems, source.system_share)
        return packing.encode(shown, tokenizer, TEMPLATE, self._phase.loss)

    def batches(self) -> Iterator[Batch]:
        """Give the phase's steps, the same ones each time it is asked."""
        return self._cut(self._learnt, self._phase.steps)

    def held_out_batches(self) -> list[Batch]:
        """Give a fixed sample of what is never learnt."""
        return list(self._cut(self._held_out, N_HELD_OUT_BATCHES)) if self._held_out else []

    def _cut(self, encoded: list[Encoded], steps: int) -> Iterator[Batch]:
        cut = packing.batches(
            encoded, seq_len=self._recipe.seq_len, batch_size=self._recipe.batch_size,
            steps=steps, seed=self._seed,
        )  # fmt: skip
        return (batch.to(self._device) for batch in cut)


def _tokenizer(recipe: Recipe, data: Path, out: Path, listener: Listener) -> Tokenizer:
    file = out / "tokenizer.json"
    if not file.exists():
        listener.said("learning the vocabulary")
        train_tokenizer(_vocabulary_texts(recipe, data), preset(recipe.preset).vocab_size, file)
    return load_tokenizer(out)


def _vocabulary_texts(recipe: Recipe, data: Path) -> Iterator[str]:
    """Every text of the first phase once, whatever its repeat, without what is held out."""
    for source in recipe.phase[0].source:
        for document in read_source(source.path, data):
            if not is_held_out(document, recipe.held_out):
                yield from _texts_of(document)


def _texts_of(document: Document) -> Iterator[str]:
    if document.text is not None:
        yield document.text
    yield from (message.content for message in document.messages)


def _is_due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last
