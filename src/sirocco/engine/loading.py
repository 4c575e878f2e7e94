"""From a checkpoint folder to an engine that is ready: device, number format, memory."""

from collections.abc import Callable
from pathlib import Path

import torch
from msgspec import structs

from sirocco.attention.choice import choose_attention, choose_kv_format
from sirocco.engine.config import EngineConfig, free_memory_bytes
from sirocco.engine.engine import Engine
from sirocco.engine.fitting import choose_fitting, fit
from sirocco.engine.parallel import Ranks, check_ranks, load_part
from sirocco.engine.process.messages import Start
from sirocco.errors import BackendUnavailable, CheckpointError, ConfigError
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS, WeightFormat
from sirocco.model.parallel import WHOLE, config_of_rank
from sirocco.model.transformer import Transformer
from sirocco.model.weights import bits_of_checkpoint, check_checkpoint
from sirocco.native import is_built
from sirocco.tokenizer import Tokenizer, load_tokenizer

WEIGHTS = ("auto", *FORMATS)

_MEMORY_SHARE = 0.7
"""A format is chosen by itself if the weights take no more than this share of free memory."""

_SMALL = 300_000_000
"""Parameters up to which float32 is fast enough on a CPU, so that nothing need be rounded."""

_LEAST_CAPABILITY = {"bfloat16": (0, 0), "fp8": (8, 9), "int4": (8, 0)}
"""Compute capability from which on a GPU multiplies each format; torch emulates bfloat16."""


def load_engine(
    folder: Path,
    *,
    device: str = "auto",
    weights: str = "auto",
    config: EngineConfig | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Engine:
    """Load weights and tokenizer of a checkpoint into an engine.

    Args:
        on_note: told, in a sentence, what is less than was asked for, because a GPU's memory is.

    Raises: CheckpointError; BackendUnavailable; ConfigError.
    """
    config, note = config or EngineConfig(), on_note or (lambda _: None)
    shape = ModelConfig.from_folder(folder)
    tokenizer = _load_tokenizer(folder, shape)
    place = choose_device(device)
    stored_bits = bits_of_checkpoint(folder)
    if weights == "auto" and stored_bits is not None:
        weights = f"q{stored_bits}"
    form = weights_for(weights, shape, place, config, note)
    model = load_part(folder, form, place, WHOLE, on_progress)
    return Engine(model, tokenizer, config_for(model, config, note))


def load_shared_engine(
    start: Start,
    *,
    on_loss: Callable[[str], None],
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Engine:
    """Load an engine whose network `start.gpus` devices share; the other ranks are started, too.

    Args:
        on_loss: called in a thread with a sentence when another rank is gone: a step that is
            under way may never end, so this process should.

    Raises: CheckpointError; BackendUnavailable; ConfigError; SetupError.
    """
    folder, note = Path(start.folder), on_note or (lambda _: None)
    shape = ModelConfig.from_folder(folder)
    tokenizer = _load_tokenizer(folder, shape)
    place = choose_device(start.device)
    check_ranks(shape, start.gpus, place)
    if bits_of_checkpoint(folder) is not None:
        raise ConfigError(f"the weights in {folder} are rounded and cannot be cut for several GPUs")
    of_rank = config_of_rank(shape, start.gpus)
    form = weights_for(start.weights, of_rank, place, start.config, note)
    told = structs.replace(start, device=place.type, weights=form.name)
    ranks = Ranks.started(told, start.gpus, place, on_loss)
    model = ranks.load(folder, form, on_progress)
    return Engine(model, tokenizer, config_for(model, start.config, note), make_runner=ranks.runner)


def weights_for(
    weights: str, shape: ModelConfig, device: torch.device, config: EngineConfig,
    note: Callable[[str], None],
) -> WeightFormat:  # fmt: skip
    """Choose the format of weights; on a GPU one that fits beside the least that must run.

    Raises: BackendUnavailable; ConfigError.
    """
    form = choose_weights(weights, shape, device)
    if device.type != "cuda":
        return form
    smaller = [FORMATS[name] for name in formats_of(device)]
    form, sentence = choose_fitting(
        shape, config, form, [f for f in smaller if f != form],
        free_bytes=free_memory_bytes(device), is_fixed=weights != "auto",
    )  # fmt: skip
    if sentence is not None:
        note(sentence)
    return form


def config_for(
    model: Transformer, config: EngineConfig, note: Callable[[str], None]
) -> EngineConfig:
    """Fit an engine's sizes into what a GPU has left beside the weights; a CPU takes them as is.

    Raises: BackendUnavailable; ConfigError.
    """
    if model.device.type != "cuda":
        return config
    attention = choose_attention(config.attention, device=model.device)
    kv_format = choose_kv_format(
        config.kv_format, dtype=model.dtype, rounds_weights=False, attention=attention
    )
    fitted = fit(model.config, config, kv_format, free_bytes=free_memory_bytes(model.device))
    if fitted.note is not None:
        note(fitted.note)
    return fitted.config


def check_loadable(folder: Path) -> None:
    """Refuse a folder that `load_engine` would refuse, without reading its weights.

    Raises: CheckpointError in one sentence.
    """
    check_checkpoint(folder)
    _load_tokenizer(folder, ModelConfig.from_folder(folder))


def _load_tokenizer(folder: Path, shape: ModelConfig) -> Tokenizer:
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size > shape.vocab_size:
        raise CheckpointError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} tokens, "
            f"but the model's vocabulary has {shape.vocab_size}"
        )
    return tokenizer


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU where torch finds one. Raises: BackendUnavailable, ConfigError."""
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable("device 'cuda' was asked for, but torch finds no GPU here")
    has_gpu = name != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if has_gpu else "cpu")


def choose_weights(weights: str, shape: ModelConfig, device: torch.device) -> WeightFormat:
    """Find the format by its name; `auto` looks at the device, the model's size, and the memory.

    On a GPU it is bfloat16, where that fits (`weights_for`). On a CPU it is float32 for a small
    model, q8 for a large one if it fits into memory, and else q4; without the C++ kernels float32,
    or bfloat16 if that is too big.

    Raises: BackendUnavailable if the device or this installation lacks the format; ConfigError for
        an unknown one.
    """
    if weights not in WEIGHTS:
        raise ConfigError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    if weights != "auto":
        form = FORMATS[weights]
        if form.bits is not None and (device.type != "cpu" or not is_built()):
            raise BackendUnavailable(
                f"weights {weights} need a CPU and the C++ kernels; the device is {device.type}, "
                f"and the kernels are {'' if is_built() else 'not '}built"
            )
        if form.scaled_bits is not None:
            _check_scaled(form, device)
        return form
    if device.type != "cpu":
        return FORMATS["bfloat16"]
    if shape.n_parameters <= _SMALL and _fits(FORMATS["float32"], shape, device):
        return FORMATS["float32"]
    if is_built():
        return FORMATS["q8" if _fits(FORMATS["q8"], shape, device) else "q4"]
    return FORMATS["float32" if _fits(FORMATS["float32"], shape, device) else "bfloat16"]


def formats_of(gpu: torch.device) -> list[str]:
    """Name the formats of weights that a GPU has products for, largest first."""
    capability = torch.cuda.get_device_capability(gpu)
    return [name for name, least in _LEAST_CAPABILITY.items() if capability >= least]


def _check_scaled(form: WeightFormat, device: torch.device) -> None:
    """Refuse a format for GPUs where there is none, or one that is too old for it."""
    if device.type != "cuda":
        raise BackendUnavailable(f"weights {form.name} need a GPU; the device is {device.type}")
    least = _LEAST_CAPABILITY[form.name]
    capability = torch.cuda.get_device_capability(device)
    if capability < least:
        raise BackendUnavailable(
            f"weights {form.name} need a GPU of compute capability {least[0]}.{least[1]} or more, "
            f"got {capability[0]}.{capability[1]}"
        )


def _fits(form: WeightFormat, shape: ModelConfig, device: torch.device) -> bool:
    weights_bytes = form.bits_per_weight / 8 * shape.n_parameters
    return weights_bytes <= _MEMORY_SHARE * free_memory_bytes(device)
