"""What to train, on which texts, for how long: a TOML file read into values."""

import tomllib
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from sirocco.errors import ConfigError

_Table = TypeVar("_Table")

EMBEDDED_RECIPE = "breeze"
"""The recipe in the package: the one that made the embedded model."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of documents.

    Attributes:
        repeat: how often a pass over the phase shows each of them.
        system_share: share of its conversations that begin with one of the recipe's `systems`.
    """

    path: str
    repeat: float = 1.0
    system_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of steps on one mixture of texts.

    Attributes:
        loss: on every token (`all`), or only on the assistant's (`answers`).
    """

    name: str
    steps: int
    loss: Literal["all", "answers"]
    source: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that, with the texts, decides what comes out.

    Attributes:
        preset: name in `model/presets.py`.
        seq_len, batch_size: tokens of a packed row; rows of a step.
        peak_lr, min_lr, warmup_steps, constant_steps: warm-up, steps at the peak, then a cosine
            to the end of all phases.
        weight_decay, clip_norm: of matrices; largest norm of a gradient.
        held_out: share of each source's documents kept for evaluation.
        eval_every, save_every: steps.
        weights: dtype of the checkpoint that is written at the end.
        optimizer: AdamW, or Muon for the matrices inside the layers and AdamW for the rest.
        systems: system messages, so that the model learns to answer under one.
    """

    name: str
    preset: str
    seed: int
    seq_len: int
    batch_size: int
    peak_lr: float
    min_lr: float
    warmup_steps: int
    weight_decay: float
    clip_norm: float
    held_out: float
    eval_every: int
    save_every: int
    weights: Literal["float32", "float16", "bfloat16"]
    phase: tuple[Phase, ...]
    systems: tuple[str, ...] = ()
    constant_steps: int = 0
    optimizer: Literal["adamw", "muon"] = "adamw"

    @property
    def total_steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phase)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one step learns from."""
        return self.seq_len * self.batch_size


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe of the package by its name, or any TOML file by its path.

    Raises: ConfigError naming the file and what is wrong in it.
    """
    packaged = resources.files("sirocco.training") / f"{name_or_path}.toml"
    try:
        text = (packaged if packaged.is_file() else Path(name_or_path)).read_text("utf-8")
        return _recipe(tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"recipe {name_or_path!r} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise ConfigError(f"recipe {name_or_path!r}: {error}") from error


def _recipe(raw: dict[str, Any]) -> Recipe:
    phases = tuple(
        _make(Phase, phase | {"source": tuple(_make(Source, s) for s in phase.get("source", ()))})
        for phase in raw.get("phase", ())
    )
    recipe = _make(Recipe, raw | {"phase": phases, "systems": tuple(raw.get("systems", ()))})
    if not phases or any(not phase.source or phase.steps < 1 for phase in phases):
        raise ValueError("it needs at least one phase, each with a source and a positive 'steps'")
    if any(phase.loss not in ("all", "answers") for phase in phases):
        raise ValueError("a phase's 'loss' is 'all' or 'answers'")
    if not recipe.systems and any(s.system_share for phase in phases for s in phase.source):
        raise ValueError("a 'system_share' needs 'systems' to choose from")
    if recipe.optimizer not in ("adamw", "muon"):
        raise ValueError(f"'optimizer' is adamw or muon, not {recipe.optimizer!r}")
    if recipe.weights not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"'weights' is float32, float16 or bfloat16, not {recipe.weights!r}")
    return recipe


def _make(cls: type[_Table], raw: dict[str, Any]) -> _Table:
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    if unknown := set(raw) - known:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    return cls(**raw)
