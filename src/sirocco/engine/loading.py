"""From a checkpoint folder to an engine that is ready: device, number format, memory."""

from collections.abc import Callable
from pathlib import Path

import torch

from sirocco.engine.config import EngineConfig, free_memory_bytes
from sirocco.engine.engine import Engine
from sirocco.errors import BackendUnavailable, CheckpointError, ConfigError
from sirocco.model.config import ModelConfig
from sirocco.model.weights import load_model
from sirocco.tokenizer import load_tokenizer

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WEIGHTS = ("auto", *_DTYPES)

_MEMORY_SHARE = 0.7
"""float32 is chosen by itself if the weights take no more than this share of free memory."""


def load_engine(
    folder: Path,
    *,
    device: str = "auto",
    weights: str = "auto",
    config: EngineConfig | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Engine:
    """Load weights and tokenizer of a checkpoint into an engine.

    Raises: CheckpointError; BackendUnavailable; ConfigError.
    """
    shape = ModelConfig.from_folder(folder)
    place = choose_device(device)
    dtype = choose_dtype(weights, shape, place)
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size > shape.vocab_size:
        raise CheckpointError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} tokens, "
            f"but the model's vocabulary has {shape.vocab_size}"
        )
    model = load_model(folder, device=place, dtype=dtype, on_progress=on_progress)
    return Engine(model, tokenizer, config)


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU where torch finds one. Raises: BackendUnavailable, ConfigError."""
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable("device 'cuda' was asked for, but torch finds no GPU here")
    has_gpu = name != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if has_gpu else "cpu")


def choose_dtype(weights: str, shape: ModelConfig, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU, on a CPU float32 where it fits and bfloat16 beyond.

    Raises: BackendUnavailable for a format that is not built in; ConfigError for an unknown one.
    """
    if weights in ("q8", "q4"):
        raise BackendUnavailable(f"weights {weights!r} are not available in this version")
    if weights not in WEIGHTS:
        raise ConfigError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    if weights != "auto":
        return _DTYPES[weights]
    fits = 4 * shape.n_parameters <= _MEMORY_SHARE * free_memory_bytes(device)
    return torch.float32 if device.type == "cpu" and fits else torch.bfloat16
