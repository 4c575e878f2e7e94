"""`sirocco models`: which models there are, which are here, and which can be pulled."""

from typing import TYPE_CHECKING

from sirocco.cli.output import AsJson, print_table, size

if TYPE_CHECKING:
    from sirocco.catalog import CatalogEntry


def models(as_json: AsJson = False) -> None:
    """List the models of the catalogue and of the settings: what is here, and from where the
    others can be pulled.
    """
    from sirocco.catalog import Catalog  # noqa: PLC0415 - not needed for --help
    from sirocco.settings import load_settings  # noqa: PLC0415 - the same

    settings = load_settings()
    catalog = Catalog(settings.models_folder, settings.models, settings.catalog_file)
    rows = [_row(entry) for entry in catalog.entries]
    if not as_json:
        rows = [{**row, "bytes": size(row["bytes"])} for row in rows]
    print_table(rows, as_json=as_json, nothing="The catalogue is empty.")


def _row(entry: "CatalogEntry") -> dict[str, object]:
    return {
        "id": entry.model_id,
        "installed": _installed(entry),
        "bytes": _n_bytes(entry) if entry.is_installed else None,
        "hub": entry.hub if entry.can_be_pulled else None,
        "template": entry.template,
        "preset": entry.preset,
        "folder": str(entry.folder),
        "cannot run": entry.unsupported,
    }


def _installed(entry: "CatalogEntry") -> str:
    if not entry.is_installed:
        return "no"
    return "embedded" if entry.is_embedded else "yes"


def _n_bytes(entry: "CatalogEntry") -> int:
    return sum(file.stat().st_size for file in entry.folder.iterdir() if file.is_file())
