"""A model in this process, for commands that answer at the terminal without a server."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from sirocco.errors import ConfigError, UnknownModel

if TYPE_CHECKING:
    from sirocco.catalog import CatalogEntry
    from sirocco.llm import LLM
    from sirocco.settings import Settings

Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda (default: auto).")]
Weights = Annotated[
    str | None, typer.Option(help="auto, float32, bfloat16, q8 or q4 (default: auto).")
]
MaxSeqLen = Annotated[
    int | None, typer.Option(help="Tokens of prompt and answer together (default: the model's).")
]


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that is ready.

    Attributes:
        name: its id in the catalogue, or its folder.
        default_system: what the API puts before a bare prompt; None is nothing.
    """

    name: str
    llm: "LLM"
    default_system: str | None


def load_local_model(
    name: str | None, *, device: str | None, weights: str | None, max_seq_len: int | None
) -> LocalModel:
    """Load a checkpoint's folder or a model of the catalogue, by the settings and these flags.

    Args:
        name: None is the embedded model.

    Raises: ConfigError, ModelNotInstalled, CheckpointError, BackendUnavailable.
    """
    from sirocco.llm import LLM  # noqa: PLC0415 - torch is slow to import
    from sirocco.settings import load_settings  # noqa: PLC0415 - not needed for --help

    settings = load_settings(device=device, weights=weights, max_seq_len=max_seq_len)
    if settings.gpus > 1:
        raise ConfigError(f"gpus is {settings.gpus}, but only sirocco serve shares out a model")
    entry = _find(name, settings)
    return LocalModel(entry.model_id, _load(LLM, entry, settings), entry.default_system)


def _find(name: str | None, settings: "Settings") -> "CatalogEntry":
    from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog, CatalogEntry  # noqa: PLC0415
    from sirocco.catalog.template import template_of  # noqa: PLC0415

    if name and Path(name).is_dir():
        return CatalogEntry(name, template_of(Path(name)), Path(name))
    catalog = Catalog(settings.models_folder, settings.models, settings.catalog_file)
    try:
        return catalog.installed(catalog.find(EMBEDDED_MODEL_ID if name is None else name))
    except UnknownModel:
        raise ConfigError(
            f"MODEL must be a checkpoint's folder or an id that `sirocco models` lists, "
            f"got {name!r}"
        ) from None


def _load(llm: "type[LLM]", entry: "CatalogEntry", settings: "Settings") -> "LLM":
    from sirocco import native  # noqa: PLC0415 - torch is slow to import
    from sirocco.engine.loading import load_engine  # noqa: PLC0415 - the same

    if settings.threads is not None and native.is_built():
        native.set_n_threads(settings.threads)
    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task(f"loading {entry.model_id}", total=None)
        engine = load_engine(
            entry.folder, device=settings.device, weights=settings.weights,
            config=settings.engine,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            on_note=lambda note: print(f"note: {note}", file=sys.stderr),
        )  # fmt: skip
    return llm.of(engine, template=entry.template)
