"""The database of a command that needs no server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sirocco.store.stores import Stores


@contextmanager
def opened_stores() -> Iterator["Stores"]:
    """Open what a server with the same environment would open. Raises: ConfigError."""
    from sirocco.settings import load_settings  # noqa: PLC0415 - not needed for --help
    from sirocco.store.stores import open_stores  # noqa: PLC0415

    settings = load_settings()
    stores = open_stores(settings.home, settings.resolved_database_url)
    try:
        yield stores
    finally:
        stores.database.close()
