"""Which network a plan is about: a preset, or a model of the catalogue."""

from sirocco.catalog import Catalog
from sirocco.errors import ConfigError
from sirocco.model.config import ModelConfig
from sirocco.model.presets import PRESETS, preset
from sirocco.plan.hardware import Hardware

_FAST_16_BIT = 50e12
"""Operations per second from which 16-bit weights are what an engine takes by itself: a GPU's."""


def shape_of(model: str, catalog: Catalog) -> ModelConfig:
    """Find the shape of a preset or of a model of the catalogue, be its weights here or not.

    Raises: ConfigError; UnknownModel for an id that the catalogue lacks; CheckpointError.
    """
    if not model.startswith("@"):
        return preset(model)
    entry = catalog.find(model)
    if entry.is_installed:
        return ModelConfig.from_folder(entry.folder)
    if entry.preset is None:
        raise ConfigError(f"{model} is not here, and the catalogue does not tell its shape")
    return preset(entry.preset)


def plannable(catalog: Catalog) -> list[str]:
    """Name all that `shape_of` takes: presets, then models of the catalogue."""
    entries = [e for e in catalog.entries if e.preset is not None or e.is_installed]
    return [*PRESETS, *(entry.model_id for entry in entries)]


def weights_on(machine: Hardware) -> str:
    """Name the format that an engine there takes for a large model."""
    return "bfloat16" if machine.operations_per_s.get("bfloat16", 0) >= _FAST_16_BIT else "q4"
