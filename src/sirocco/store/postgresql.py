"""PostgreSQL through psycopg, with limits on how long it may leave us waiting."""

from sqlalchemy import URL, Connection, Engine, create_engine, text

_MIGRATION_LOCK = 0x51_50_CC_0
"""Any number, as long as it stays: all processes that migrate a database name the same."""

_WAITING = {
    "connect_timeout": "5",  # seconds
    # A server that vanished without a word is noticed after 10 s; libpq's own default is hours.
    "tcp_user_timeout": "10000",  # milliseconds
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}


def postgresql_engine(url: URL) -> Engine:
    """Make the engine; what the URL's query says comes before our own limits."""
    missing = {name: value for name, value in _WAITING.items() if name not in url.query}
    # A connection that died while nobody used it is noticed before it is handed out; and an
    # error tells no values.
    waiting = url.update_query_dict(missing)
    return create_engine(waiting, pool_pre_ping=True, hide_parameters=True)


def postgresql_reader(engine: Engine) -> Engine:
    """Let all statements of a transaction see the same moment, as SQLite's do."""
    return engine.execution_options(isolation_level="REPEATABLE READ")


def lock_migration(connection: Connection) -> None:
    """Wait until no other process migrates; the lock ends with the transaction."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
