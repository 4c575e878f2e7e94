"""A training run on disk, written so that a kill at any moment loses nothing older.

Tensors are safetensors and the rest is JSON: nothing here can run code when it is read.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sirocco.errors import CheckpointError
from sirocco.model.transformer import Transformer


@dataclass(slots=True)
class RunLog:
    """How far a run has come, and what was measured on the way.

    Attributes:
        step: steps done.
        train_s: seconds spent in steps, over all sittings.
        losses: rows of [step, training loss].
        held_out: rows of [step, phase, held-out loss].
    """

    step: int = 0
    train_s: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)
    held_out: list[tuple[int, str, float]] = field(default_factory=list)


def save_state(
    folder: Path, model: Transformer, optimizers: Sequence[torch.optim.Optimizer], log: RunLog
) -> None:
    """Write the run; the old one stays whole until the new one is."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for index, moments in optimizer.state_dict()["state"].items():
            place = f"optimizer.{number}.{index}"
            tensors |= {f"{place}.{name}": tensor for name, tensor in moments.items()}
    draft = folder / "state.safetensors.part"
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, draft, metadata={"log": json.dumps(asdict(log))})
    os.replace(draft, folder / "state.safetensors")  # noqa: PTH105 - atomic, unlike write


def load_state(
    folder: Path, model: Transformer, optimizers: Sequence[torch.optim.Optimizer]
) -> RunLog:
    """Restore a run in place and return its log.

    Raises: CheckpointError if the folder holds no run, or one of another shape.
    """
    file = folder / "state.safetensors"
    try:
        tensors = load_file(file)
        log = RunLog(**json.loads(_metadata(file)["log"]))
        model.load_state_dict(_under(tensors, "model."))
        for number, optimizer in enumerate(optimizers):
            state = optimizer.state_dict()
            state["state"] = _moments(_under(tensors, f"optimizer.{number}."))
            optimizer.load_state_dict(state)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no run to resume") from error
    except Exception as error:
        raise CheckpointError(f"{file} is not a run of this recipe: {error}") from error
    return log


def _metadata(file: Path) -> dict[str, str]:
    from safetensors import safe_open  # noqa: PLC0415 - only needed to resume

    with safe_open(file, framework="pt") as opened:
        return opened.metadata() or {}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _moments(tensors: dict[str, Tensor]) -> dict[int, dict[str, Any]]:
    moments: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, moment = name.split(".")
        moments.setdefault(int(index), {})[moment] = tensor
    return moments
