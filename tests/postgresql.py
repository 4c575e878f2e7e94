"""A real PostgreSQL server that the tests start themselves, on a Unix socket in a folder.

It speaks to nobody else, forgets everything, and ends with the tests, however they end.
Postgres refuses to run as root; tests that do start it as another user.
"""

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.left_out import POSTGRESQL, leave_out

from sirocco.store.db import Database

_QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB",
          "max_connections": "60", "listen_addresses": ""}  # fmt: skip


def postgres_binaries() -> Path | None:
    """Find the folder of `initdb` and `postgres`; Debian keeps it out of PATH."""
    on_path = shutil.which("initdb")
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    folders += [Path(on_path).parent] if on_path else []
    return max((f for f in folders if (f / "initdb").exists()), default=None)


class PostgresServer:
    """One server, in a folder of its own."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        if os.geteuid() == 0:
            shutil.chown(folder, _user(), _user())
        self._call("initdb", "-D", self._data, "-U", "tests", "-A", "trust", "-E", "UTF8",
                   "--locale=C", "--no-sync")  # fmt: skip

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [f"-c{name}={value}" for name, value in _QUICK.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_other_user(), str(self._binaries / "postgres"), "-D", self._data,
                 "-k", str(self._folder), *options],
                stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        deadline_s = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self._conninfo("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline_s, "PostgreSQL did not start in 30 s"
                time.sleep(0.02)
            else:
                return

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: `immediate` is a crash, `fast` sends everybody away in good order."""
        if self._process is not None:
            self._call("pg_ctl", "stop", "-D", self._data, "-m", mode, "-w")
            self._process.wait(30)
            self._process = None

    def new_database(self, template: str = "template1") -> str:
        """Make a database, and return its name."""
        name = f"tests_{next(self._numbers)}"
        self._execute(f'CREATE DATABASE {name} TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Forget a database, whoever is still connected."""
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://tests@/{name}?host={self._folder}"

    def _conninfo(self, name: str) -> str:
        return f"host={self._folder} user=tests dbname={name}"

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*_as_other_user(), str(self._binaries / program), *arguments],
            capture_output=True, cwd="/", timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def running_postgresql() -> Iterator[PostgresServer]:
    """Start a server for as long as a `with` lasts; without its binaries the test is left out."""
    binaries = postgres_binaries()
    if binaries is None:
        leave_out(POSTGRESQL)
    # Not in pytest's folder: that is root's alone, and its path is too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="sirocco-pg-"))
    try:
        server = PostgresServer(binaries, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """One server for all tests."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgresql: PostgresServer) -> str:
    """The name of a database with our tables in it, to be copied."""
    name = postgresql.new_database()
    database = Database.open(postgresql.url(name))
    database.migrate()
    database.close()
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database with nothing in it, of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sirocco.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    name = server.new_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database with our tables and no rows, of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sirocco.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    name = server.new_database(request.getfixturevalue("migrated"))
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database of either kind."""
    database = Database.open(database_url)
    database.migrate()
    yield database
    database.close()


def _user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _as_other_user() -> list[str]:
    """Run as somebody who is not root, and not longer than the tests."""
    if sys.platform != "linux" or shutil.which("setpriv") is None:
        return []
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig", "QUIT"]
    return ["setpriv", f"--reuid={_user()}", f"--regid={_user()}", "--clear-groups",
            "--pdeathsig", "QUIT"]  # fmt: skip
