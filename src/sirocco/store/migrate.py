"""Brings a database to the newest schema, with the steps in `migrations/`."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from sirocco.errors import ConfigError

_MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: Connection) -> None:
    """Run the steps that this database has not had; nothing to do is fine.

    The connection is inside a transaction that lets no other writer in; the caller commits
    it, so that the database has either all steps or none.

    Raises: ConfigError if the schema is newer than this program, or not ours.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    _require_known_schema(connection, ScriptDirectory.from_config(config))
    command.upgrade(config, "head")


def _require_known_schema(connection: Connection, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    present = set(MigrationContext.configure(connection).get_current_heads())
    unknown = ", ".join(sorted(present - known))
    if unknown:
        raise ConfigError(
            f"the database has schema {unknown}, which is newer than this version of Sirocco"
        )
    if not present and inspect(connection).get_table_names():
        raise ConfigError("the database holds tables of another program")
