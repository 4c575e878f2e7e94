"""Each step keeps what was there, and can be taken back."""

from datetime import UTC, datetime

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

from sirocco.store.api_tokens import ApiTokens
from sirocco.store.db import Database
from sirocco.store.migrate import _MIGRATIONS
from sirocco.store.scopes import ALL_SCOPES

OLDEST = {
    "accounts": {"id": "a" * 32, "name": "Levante", "created_at": datetime(2026, 1, 1, tzinfo=UTC)},
    "api_tokens": {
        "id": "b" * 32, "account_id": "a" * 32, "name": "laptop", "prefix": "12345678",
        "digest": "d" * 64, "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    },
    "usage": {
        "request_id": "r1", "account_id": "a" * 32, "api_token_id": "b" * 32, "model_id": "@cf/x/y",
        "prompt_tokens": 11, "output_tokens": 7, "cached_tokens": 0, "finish_reason": "stop",
        "started_at": datetime(2026, 1, 1, 12, tzinfo=UTC), "duration_s": 1.5,
    },
}  # fmt: skip


def go_to(database: Database, revision: str) -> None:
    """Take the steps, forward or back, to a revision."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    is_back = revision == "base"
    with database.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if is_back else command.upgrade)(config, revision)


@pytest.fixture
def oldest(blank_url):
    """A database of the first version, with a row in each table."""
    database = Database.open(blank_url)
    go_to(database, "0001")
    with database.begin() as connection:
        for table, row in OLDEST.items():
            names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
            shown = {k: str(v) if isinstance(v, datetime) else v for k, v in row.items()}
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), shown)  # noqa: S608
    yield database
    database.close()


def test_an_api_token_of_the_first_version_may_do_everything(oldest):
    oldest.migrate()

    (token,) = ApiTokens(oldest, b"p" * 32).of_account("a" * 32)
    assert (token.name, token.scopes, token.account_weight) == ("laptop", ALL_SCOPES, 1.0)


def test_all_steps_can_be_taken_back(oldest):
    oldest.migrate()

    go_to(oldest, "base")

    with oldest.connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
