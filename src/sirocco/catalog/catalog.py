"""From a model id to what serving it takes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sirocco.catalog.catalog_file import read_catalog_file
from sirocco.catalog.entry import CatalogEntry
from sirocco.catalog.pulled import pulled_entries, pulled_entry
from sirocco.catalog.template import template_of
from sirocco.errors import CheckpointError, ModelNotInstalled, UnknownModel

EMBEDDED_MODEL_ID = "@sirocco/breeze-instruct"

_OURS = Path(__file__).parent / "catalog.toml"


class Catalog:
    """The models of our `catalog.toml`, of the user's own, and of folders.

    Args:
        models_folder: where checkpoints of listed models are looked for.
        own: model id → folder; a listed id keeps its template and takes this folder.
        own_file: a `catalog.toml` of the user's, if there is one; its models take the place of
            ours where the ids are the same.

    Raises: CheckpointError if a folder of `own` is none; ConfigError if `own_file` is faulty.
    """

    def __init__(
        self,
        models_folder: Path,
        own: Mapping[str, Path] | None = None,
        own_file: Path | None = None,
    ) -> None:
        self._models_folder = models_folder
        ours = read_catalog_file(_OURS, models_folder)
        listed = ours.entries
        if own_file is not None and own_file.exists():
            listed += read_catalog_file(own_file, models_folder, ours.systems).entries
        self._entries = {entry.model_id: entry for entry in listed}
        for model_id, folder in (own or {}).items():
            self._take_folder(model_id, folder)
        self._share_folders()
        self._by_any_name = self._named()

    @property
    def entries(self) -> list[CatalogEntry]:
        """All models, the embedded one first, those pulled by their repository's name last."""
        pulled = [e for e in pulled_entries(self._models_folder) if e.model_id not in self._entries]
        return [*self._entries.values(), *pulled]

    def find(self, model_id: str) -> CatalogEntry:
        """Look a model up by its id or an alias. Raises: UnknownModel."""
        entry = self._by_any_name.get(model_id) or pulled_entry(self._models_folder, model_id)
        if entry is None:
            raise UnknownModel(model_id)
        return entry

    def find_by_hub(self, repo: str) -> CatalogEntry | None:
        """Find the first model that can run here and is published in this repository."""
        return next((e for e in self._entries.values() if e.can_be_pulled and e.hub == repo), None)

    def installed(self, entry: CatalogEntry) -> CatalogEntry:
        """Give the entry back if its checkpoint is there. Raises: ModelNotInstalled."""
        if entry.unsupported is not None:
            raise ModelNotInstalled(
                f"{entry.model_id} cannot run on this version of Sirocco: {entry.unsupported}"
            )
        if not entry.is_installed:
            by_pull = f"run 'sirocco pull {entry.model_id}', or " if entry.can_be_pulled else ""
            raise ModelNotInstalled(
                f"the weights of {entry.model_id} are not on this machine: {by_pull}put its "
                f"checkpoint (config.json, safetensors, tokenizer) into models/"
                f"{entry.weights_of or entry.model_id} of SIROCCO_HOME, or start with --model "
                f"{entry.model_id}=FOLDER, or with --stand-in to let {EMBEDDED_MODEL_ID} answer "
                f"in its place"
            )
        return entry

    def _take_folder(self, model_id: str, folder: Path) -> None:
        """Let a model live in a folder of the user's."""
        if not folder.is_dir():
            raise CheckpointError(f"the checkpoint of {model_id}, {folder}, is not a folder")
        known = self._named().get(model_id)
        if known is None:
            self._entries[model_id] = CatalogEntry(model_id, template_of(folder), folder)
            return
        template = known.template or template_of(folder)
        self._entries[known.model_id] = replace(
            known, folder=folder, template=template, unsupported=None, weights_of=None
        )

    def _share_folders(self) -> None:
        """Let models live where the model lives whose checkpoint they share."""
        for entry in list(self._entries.values()):
            if entry.weights_of in self._entries:
                folder = self._entries[entry.weights_of].folder
                self._entries[entry.model_id] = replace(entry, folder=folder)

    def _named(self) -> dict[str, CatalogEntry]:
        aliases = {alias: e for e in self._entries.values() for alias in e.aliases}
        return aliases | self._entries
