"""From a model id to what serving it takes."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sirocco.catalog.template import template_of
from sirocco.errors import CheckpointError, ModelNotInstalled, UnknownModel

EMBEDDED_MODEL_ID = "@sirocco/breeze-instruct"

_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model.

    Attributes:
        template: how a conversation becomes a prompt; None if the checkpoint has none.
        default_system: what stands before a bare prompt that is not raw; None is nothing.
        folder: where its checkpoint is, or would be.
        preset: name of its shape; repo: where its weights are published.
        is_embedded: its weights come with the package.
    """

    model_id: str
    template: str | None
    folder: Path
    default_system: str | None = None
    description: str = ""
    preset: str | None = None
    repo: str | None = None
    aliases: tuple[str, ...] = ()
    is_embedded: bool = False

    @property
    def is_installed(self) -> bool:
        """A checkpoint seems to be there."""
        return any((self.folder / name).is_file() for name in ("config.json", "params.json"))


class Catalog:
    """The models of `catalog.toml`, and the user's own.

    Args:
        models_folder: where checkpoints of listed models are looked for.
        own: model id → folder; a listed id keeps its template and takes this folder.

    Raises: CheckpointError if a folder of `own` is none.
    """

    def __init__(self, models_folder: Path, own: Mapping[str, Path] | None = None) -> None:
        self._entries = {entry.model_id: entry for entry in _listed(models_folder)}
        ids = {alias: e.model_id for e in self._entries.values() for alias in e.aliases}
        for model_id, folder in (own or {}).items():
            if not folder.is_dir():
                raise CheckpointError(f"the checkpoint of {model_id}, {folder}, is not a folder")
            known = self._entries.get(ids.get(model_id, model_id))
            self._entries[known.model_id if known else model_id] = (
                replace(known, folder=folder)
                if known
                else CatalogEntry(model_id, template_of(folder), folder)
            )
        aliases = {alias: self._entries[model_id] for alias, model_id in ids.items()}
        self._by_any_name = aliases | self._entries

    @property
    def entries(self) -> list[CatalogEntry]:
        """All models, the embedded one first."""
        return list(self._entries.values())

    def find(self, model_id: str) -> CatalogEntry:
        """Look a model up by its id or an alias. Raises: UnknownModel."""
        try:
            return self._by_any_name[model_id]
        except KeyError:
            raise UnknownModel(model_id) from None

    def installed(self, entry: CatalogEntry) -> CatalogEntry:
        """Give the entry back if its checkpoint is there. Raises: ModelNotInstalled."""
        if not entry.is_installed:
            raise ModelNotInstalled(
                f"the weights of {entry.model_id} are not on this machine: put its checkpoint "
                f"(config.json, safetensors, tokenizer) into models/{entry.model_id} of "
                f"SIROCCO_HOME, or start with --model {entry.model_id}=FOLDER, or with "
                f"--stand-in to let {EMBEDDED_MODEL_ID} answer in its place"
            )
        return entry


def _listed(models_folder: Path) -> Iterable[CatalogEntry]:
    raw = tomllib.loads((Path(__file__).parent / "catalog.toml").read_text(encoding="utf-8"))
    return [_entry(model, raw["defaults"], models_folder) for model in raw["model"]]


def _entry(
    model: Mapping[str, Any], systems: Mapping[str, str], models_folder: Path
) -> CatalogEntry:
    embedded = model.get("embedded")
    folder = _PACKAGE / "embedded" / embedded if embedded else models_folder / model["id"]
    return CatalogEntry(
        model_id=model["id"],
        template=model["template"],
        folder=folder,
        default_system=systems[model["system"]] if "system" in model else None,
        description=model["description"],
        preset=model["preset"],
        repo=model.get("repo"),
        aliases=tuple(model.get("aliases", ())),
        is_embedded=embedded is not None,
    )
