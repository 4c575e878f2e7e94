"""The whole of what is kept, opened together."""

from dataclasses import dataclass
from pathlib import Path

from sirocco.errors import ConfigError
from sirocco.store.accounts import Accounts
from sirocco.store.api_tokens import ApiTokens, load_pepper
from sirocco.store.db import Database
from sirocco.store.usage import UsageLog
from sirocco.store.usage_totals import UsageTotals


@dataclass(frozen=True, slots=True)
class Stores:
    """The open database, and the views of it."""

    database: Database
    accounts: Accounts
    api_tokens: ApiTokens
    usage: UsageLog
    usage_totals: UsageTotals


def open_stores(home: Path, database_url: str) -> Stores:
    """Open the database and bring it up to date.

    Args:
        home: folder of the pepper, and of a default database; made with mode 0700 if absent.

    Raises: ConfigError in one sentence.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {home}: {error.strerror}") from error
    database = Database.open(database_url)
    database.migrate()
    pepper = load_pepper(home / "pepper")
    return Stores(
        database,
        Accounts(database),
        ApiTokens(database, pepper),
        UsageLog(database),
        UsageTotals(database),
    )
