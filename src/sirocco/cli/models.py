"""`sirocco models`: which models there are, and which of them this machine can run."""

from typing import TYPE_CHECKING

from sirocco.cli.output import AsJson, print_table

if TYPE_CHECKING:
    from sirocco.catalog import CatalogEntry


def models(as_json: AsJson = False) -> None:
    """List the models of the catalogue and of the settings, and where their weights belong."""
    from sirocco.catalog import Catalog  # noqa: PLC0415 - not needed for --help
    from sirocco.settings import load_settings  # noqa: PLC0415 - the same

    settings = load_settings()
    catalog = Catalog(settings.models_folder, settings.models)
    rows = [
        {
            "id": entry.model_id,
            "installed": _installed(entry),
            "template": entry.template,
            "preset": entry.preset,
            "folder": str(entry.folder),
        }
        for entry in catalog.entries
    ]
    print_table(rows, as_json=as_json, nothing="The catalogue is empty.")


def _installed(entry: "CatalogEntry") -> str:
    if not entry.is_installed:
        return "no"
    return "embedded" if entry.is_embedded else "yes"
