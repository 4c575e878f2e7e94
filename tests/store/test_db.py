"""Opening, settings that survive a power cut, and refusals in one sentence."""

import logging
import os
import re
import sqlite3
import subprocess
import sys
import threading
import traceback
from datetime import datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from sirocco.errors import ConfigError
from sirocco.store.db import Database
from sirocco.store.tables import accounts, api_tokens, metadata, utc_now


def insert_account(connection: Connection, account_id: str) -> None:
    connection.execute(insert(accounts).values(id=account_id, name="n", created_at=utc_now()))


def count_accounts(database: Database) -> int:
    with database.connect() as connection:
        return connection.execute(select(func.count()).select_from(accounts)).scalar_one()


def test_a_migrated_database_is_what_the_tables_say(database):
    with database.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_constraints_have_the_names_of_the_convention(database):
    with database.connect() as connection:
        inspector = inspect(connection)

        for table in metadata.sorted_tables:
            assert inspector.get_pk_constraint(table.name)["name"] == table.primary_key.name
            assert {key["name"] for key in inspector.get_foreign_keys(table.name)} == {
                key.name for key in table.foreign_key_constraints
            }


def test_migrating_again_changes_nothing(database):
    with database.begin() as connection:
        insert_account(connection, "a" * 32)

    database.migrate()

    assert count_accounts(database) == 1


def test_migrating_leaves_logging_alone(blank_url):
    before = (logging.root.level, list(logging.root.handlers), logging.root.manager.disable)
    database = Database.open(blank_url)

    database.migrate()

    database.close()
    assert before == (
        logging.root.level,
        list(logging.root.handlers),
        logging.root.manager.disable,
    )
    assert not logging.getLogger("sirocco.store").disabled


def test_processes_that_start_at_once_all_find_the_schema(blank_url):
    program = (
        "import sys; from sirocco.store.db import Database\n"
        "print(flush=True); sys.stdin.read(1)\n"
        "database = Database.open(sys.argv[1]); database.migrate(); database.close()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, blank_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(4)
    ]

    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:  # all have imported and wait: let them go together
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
    errors = [process.communicate()[1].decode() for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, errors


def test_a_failed_migration_leaves_nothing_behind(blank_url, monkeypatch):
    database = Database.open(blank_url)

    def upgrade_and_fail(connection):
        from sirocco.store.migrate import upgrade

        upgrade(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr("sirocco.store.db.upgrade", upgrade_and_fail)
    with pytest.raises(KeyboardInterrupt):
        database.migrate()

    with database.connect() as connection:
        assert inspect(connection).get_table_names() == []
    database.close()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),  # FULL
        ("foreign_keys", 1),
        ("busy_timeout", 10_000),
    ],
)
def test_settings_that_survive_a_kill_hold_on_every_connection(sqlite_database, pragma, value):
    database = sqlite_database
    with database.connect() as first, database.connect() as second, database.begin() as third:
        for connection in (first, second, third):
            assert connection.scalar(text(f"PRAGMA {pragma}")) == value


def test_a_new_file_and_its_companions_are_private(sqlite_database, database_file):
    with sqlite_database.begin() as connection:
        insert_account(connection, "a" * 32)
        files = sorted(database_file.parent.iterdir())

        assert [file.name for file in files] == ["sirocco.db", "sirocco.db-shm", "sirocco.db-wal"]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_foreign_keys_are_enforced(database):
    values = {"id": "b" * 32, "account_id": "f" * 32, "name": "n", "prefix": "p", "digest": "d"}

    with pytest.raises(IntegrityError, match=r"(?i)foreign key"), database.begin() as connection:
        connection.execute(insert(api_tokens).values(**values, created_at=utc_now()))


def test_an_error_tells_no_values(database):
    """They may be what is secret, as the digest of an API token."""
    values = {"id": "b" * 32, "account_id": "f" * 32, "name": "n", "prefix": "p", "digest": "d0d0"}

    with pytest.raises(IntegrityError) as raised, database.begin() as connection:
        connection.execute(insert(api_tokens).values(**values, created_at=utc_now()))

    assert "d0d0" not in str(raised.value)


def test_an_exception_undoes_the_whole_transaction(database):
    def insert_and_fail() -> None:
        with database.begin() as connection:
            insert_account(connection, "a" * 32)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        insert_and_fail()

    assert count_accounts(database) == 0


def test_a_reader_sees_one_moment_while_others_write(database):
    with database.connect() as reader:
        count = select(func.count()).select_from(accounts)
        before = reader.scalar(count)
        with database.begin() as writer:
            insert_account(writer, "a" * 32)

        assert reader.scalar(count) == before == 0


def test_threads_that_read_then_write_never_meet_a_locked_database(database):
    def work(index):
        for turn in range(5):
            with database.begin() as connection:
                connection.scalar(select(func.count()).select_from(accounts))
                insert_account(connection, f"{index:016x}{turn:016x}")

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert count_accounts(database) == 20


def test_moments_come_back_in_utc_and_need_a_zone(database):
    moment = datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5)))
    with database.begin() as connection:
        connection.execute(insert(accounts).values(id="a" * 32, name="n", created_at=moment))

    with database.connect() as connection:
        read = connection.scalar(select(accounts.c.created_at))
    assert (read, read.utcoffset()) == (moment, timedelta(0))


def test_a_moment_without_a_zone_is_refused(database):
    statement = insert(accounts).values(id="b" * 32, name="n", created_at=datetime(2026, 1, 1))

    with pytest.raises(StatementError, match="needs a time zone"), database.begin() as connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("not a url", "not of the form"),
        ("", "not of the form"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:///{folder}/none/sirocco.db", "No such file or directory"),
        ("sqlite:///{folder}", "unable to open database file"),
        ("sqlite:///{folder}/letter.txt", "file is not a database"),
        ("oracel://localhost/x", "no such kind of database"),
        ("mysql://me:hunter2@localhost/x", "SQLite or PostgreSQL"),
        ("postgresql://me:hunter2@127.0.0.1:1/x", "refused"),
        ("postgres://127.0.0.1:1/x?user=me&password=hunter2", "refused"),
        ("postgresql+psycopg://127.0.0.1:1/x?sslpassword=hunter2", "refused"),
        ("postgresql://127.0.0.1:1/x?password=hunter2&no_such_option=hunter2", "no_such_option"),
    ],
)
def test_an_unusable_url_is_refused_in_one_sentence(tmp_path, url, reason):
    """And no password stands in it, nor in the chain of causes that a log would keep."""
    (tmp_path / "letter.txt").write_text("Dear reader, " * 100)

    with pytest.raises(ConfigError, match=reason) as refused:
        Database.open(url.format(folder=tmp_path))

    assert "\n" not in str(refused.value)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_a_missing_driver_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(ConfigError, match=re.escape("pip install 'sirocco[postgresql]'")):
        Database.open("postgresql://me@127.0.0.1:1/x")


def test_a_wrong_password_is_not_repeated(postgresql):
    url = postgresql.url("none").replace("tests@", "nobody:hunter2@")

    with pytest.raises(ConfigError, match="does not exist") as refused:
        Database.open(url)

    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_a_schema_from_a_newer_version_is_refused(database):
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(ConfigError, match="schema 9999, which is newer"):
        database.migrate()


def test_a_database_of_another_program_is_refused_and_left_alone(blank_url):
    database = Database.open(blank_url)
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE accounts (whose TEXT)"))

    with pytest.raises(ConfigError, match="another program"):
        database.migrate()

    with database.connect() as connection:
        assert inspect(connection).get_table_names() == ["accounts"]
    database.close()


@pytest.mark.parametrize(
    ("version", "is_advised"), [((3, 40, 1), True), ((3, 51, 2), True), ((3, 51, 3), False)]
)
def test_an_old_sqlite_is_mentioned(sqlite_database, monkeypatch, version, is_advised):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)

    assert (sqlite_database.advice() is not None) == is_advised


def test_opening_waits_while_another_process_reads_a_file_that_has_no_wal(database_file):
    """SQLite itself gives up at once here, whatever its busy_timeout."""
    other = sqlite3.connect(database_file, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA user_version = 1")  # the file gets content, but no table
    other.execute("BEGIN")
    other.execute("SELECT * FROM sqlite_master").fetchall()
    release = threading.Timer(0.2, other.execute, ["COMMIT"])
    release.start()

    database = Database.open(f"sqlite:///{database_file}")

    release.join()
    other.close()
    database.migrate()
    assert count_accounts(database) == 0
    database.close()
