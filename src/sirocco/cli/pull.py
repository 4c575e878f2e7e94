"""`sirocco pull`: a model's checkpoint from its repository onto this machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sirocco.cli.output import AsJson, size
from sirocco.errors import HubError, UnknownModel

if TYPE_CHECKING:
    from sirocco.catalog import Catalog, CatalogEntry
    from sirocco.hub.pull import Checks, Pulled, Watcher


def pull(
    model: Annotated[
        str, typer.Argument(help="A model id of the catalogue, or OWNER/NAME of a repository.")
    ],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit (default: the newest).")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of the hub (default: HF_ENDPOINT, or the public).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download a model: its configuration, tokenizer and safetensors, and nothing else.

    A download that was interrupted goes on. For a gated repository set HF_TOKEN.
    """
    from sirocco.catalog import Catalog  # noqa: PLC0415 - not needed for --help
    from sirocco.settings import load_settings  # noqa: PLC0415 - the same

    settings = load_settings()
    catalog = Catalog(settings.models_folder, settings.models, settings.catalog_file)
    entry = _wanted(catalog, model, settings.models_folder)
    if entry.is_installed:
        _require_same(entry, revision)
        _report(entry, None, as_json=as_json)
        return
    _make_home(settings.home)
    _report(entry, _pulled(entry, revision, endpoint, as_json=as_json), as_json=as_json)


def _make_home(home: Path) -> None:
    """Make the folder of all state, for its owner alone; it may be the first thing that is here."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HubError(f"cannot make the folder {home}: {error.strerror}") from error


def _wanted(catalog: "Catalog", model: str, models_folder: Path) -> "CatalogEntry":
    """Find what is meant. A repository that the catalogue knows is the catalogue's model.

    Raises: HubError if there is nothing to pull; UnknownModel.
    """
    from sirocco.catalog import CatalogEntry  # noqa: PLC0415
    from sirocco.hub.listing import is_repository_name  # noqa: PLC0415

    try:
        entry = catalog.find_by_hub(model) or catalog.find(model)
    except UnknownModel:
        if not is_repository_name(model):
            raise HubError(
                f"{model!r} is neither a model of the catalogue nor a repository, OWNER/NAME"
            ) from None
        return CatalogEntry(model, None, models_folder / model, hub=model)
    if entry.unsupported is not None:
        raise HubError(
            f"{entry.model_id} cannot run on this version of Sirocco: {entry.unsupported}"
        )
    if not entry.is_installed and entry.hub is None:
        raise HubError(f"the catalogue knows no repository of {entry.model_id}")
    return entry


def _require_same(entry: "CatalogEntry", revision: str | None) -> None:
    """Refuse a revision that is not the one that is here."""
    from sirocco.hub.pull import source_of  # noqa: PLC0415

    source = source_of(entry.folder)
    here = source.commit if source else "an unknown commit"
    if revision is not None and revision != here:
        raise HubError(
            f"{entry.folder} holds {here}: remove the folder to pull revision {revision!r}"
        )


def _pulled(
    entry: "CatalogEntry", revision: str | None, endpoint: str | None, *, as_json: bool
) -> "Pulled":
    from sirocco.hub.listing import Hub  # noqa: PLC0415
    from sirocco.hub.pull import pull as pull_checkpoint  # noqa: PLC0415

    assert entry.hub is not None
    with _bar(is_shown=not as_json) as watcher:
        return pull_checkpoint(
            Hub.resolve(endpoint), entry.hub, entry.folder, _checks(), revision=revision,
            watcher=watcher,
        )  # fmt: skip


def _checks() -> "Checks":
    from sirocco.hub.pull import Checks  # noqa: PLC0415
    from sirocco.model.config import ModelConfig  # noqa: PLC0415

    def whole(folder: Path) -> None:
        from sirocco.engine.loading import check_loadable  # noqa: PLC0415 - torch is slow

        check_loadable(folder)

    return Checks(config=ModelConfig.from_folder, whole=whole)


@contextmanager
def _bar(*, is_shown: bool) -> Iterator["Watcher"]:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from sirocco.hub.pull import Watcher  # noqa: PLC0415

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not is_shown) as bar:
        task = bar.add_task("pull", total=None)
        yield Watcher(
            begun=lambda total, here: bar.update(task, total=total, completed=here),
            advanced=lambda n_bytes: bar.update(task, advance=n_bytes),
        )


def _report(entry: "CatalogEntry", pulled: "Pulled | None", *, as_json: bool) -> None:
    from sirocco.hub.pull import source_of  # noqa: PLC0415

    source = source_of(entry.folder)
    if as_json:
        result = {
            "id": entry.model_id, "folder": str(entry.folder), "was_here": pulled is None,
            "repo": source and source.repo, "commit": source and source.commit,
            "files": list(pulled.file_names) if pulled else None,
            "bytes": pulled.n_bytes if pulled else None,
        }  # fmt: skip
        print(json.dumps(result))
        return
    if pulled is None:
        print(f"{entry.model_id} is here already, in {entry.folder}")
        return
    print(
        f"{entry.model_id} is here: {size(pulled.n_bytes)} of {pulled.source.repo}, commit "
        f"{pulled.source.commit}, in {entry.folder}"
    )
