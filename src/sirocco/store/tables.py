"""The tables. What stands here and what the migrations make is compared by a test.

Types are those that SQLite and PostgreSQL share.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

# Constraints get the same names everywhere, so that a later migration can drop them by name.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def utc_now() -> datetime:
    """Return the present moment, with its zone."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite forgets zones: values go in as UTC and get the zone back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime | None:
        """Refuse a time without a zone, which could mean any moment. Raises: ValueError."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment needs a time zone, got {value!r}")
        return value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime | None:
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


accounts = Table(
    "accounts",
    metadata,
    Column("id", String(32), primary_key=True),  # 32 hex digits
    Column("name", String(100), nullable=False),
    Column("created_at", UtcDateTime(), nullable=False),
    # Its share of an engine beside other accounts: twice the weight is served twice as much.
    Column("weight", Float, nullable=False, server_default=text("1")),
    # Limits of its own: NULL is what the settings say, 0 is none.
    Column("daily_neurons", Float),
    Column("daily_tokens", BigInteger),
    Column("per_minute", Integer),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(32), primary_key=True),  # 32 hex digits
    Column("account_id", String(32), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", String(100), nullable=False),
    Column("prefix", String(12), nullable=False),  # the visible start of the secret
    Column("digest", String(64), nullable=False, unique=True),  # HMAC-SHA256 as hex
    Column("created_at", UtcDateTime(), nullable=False),
    Column("expires_at", UtcDateTime()),
    Column("revoked_at", UtcDateTime()),
    # What it may do, with spaces between.
    Column("scopes", String(200), nullable=False, server_default=text("'ai:read ai:run'")),
)

usage = Table(
    "usage",
    metadata,
    Column("request_id", String(36), primary_key=True),  # one row per request, whatever happens
    Column("account_id", String(32), ForeignKey("accounts.id"), nullable=False),
    Column("api_token_id", String(32), ForeignKey("api_tokens.id")),
    Column("model_id", String(200), nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),  # the part of prompt_tokens not computed
    Column("finish_reason", String(16), nullable=False),
    Column("started_at", UtcDateTime(), nullable=False),
    Column("ttft_s", Float),  # NULL: ended before its first token
    Column("duration_s", Float, nullable=False),
    Column("neurons", Float, nullable=False, server_default=text("0")),  # what it cost
    Index("ix_usage_account_id_started_at", "account_id", "started_at"),
)

# Sums over `usage`, written in the same transactions. They are here so that the budget of an
# account that made a million requests today is looked up, not added up.
daily_usage = Table(
    "daily_usage",
    metadata,
    Column("account_id", String(32), ForeignKey("accounts.id"), primary_key=True),
    Column("day", Date, primary_key=True),  # of started_at, in UTC
    Column("requests", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),  # prompt and output
    Column("micro_neurons", BigInteger, nullable=False),
)

# The worst that a request can use which has no row in `usage` yet.
reservations = Table(
    "reservations",
    metadata,
    Column("request_id", String(36), primary_key=True),
    Column("account_id", String(32), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("owner", String(32), nullable=False),  # the server that made it, and renews it
    Column("tokens", BigInteger, nullable=False),
    Column("micro_neurons", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime(), nullable=False),  # from then on it counts no more
)

# Requests that were queued together, to be answered when there is time.
batches = Table(
    "batches",
    metadata,
    Column("id", String(36), primary_key=True),  # the id of the request that queued it
    Column("account_id", String(32), ForeignKey("accounts.id"), nullable=False),
    Column("api_token_id", String(32), ForeignKey("api_tokens.id")),
    Column("model_id", String(200), nullable=False),
    Column("idempotency_key", String(255)),
    Column("digest", String(64), nullable=False),  # of its requests, to tell a replay by
    Column("n_items", Integer, nullable=False),
    Column("n_done", Integer, nullable=False),
    Column("n_bytes", BigInteger, nullable=False),  # of its requests
    Column("created_at", UtcDateTime(), nullable=False),
    Column("started_at", UtcDateTime()),  # NULL: nothing of it was begun
    Column("finished_at", UtcDateTime()),  # NULL: something of it is not done
    UniqueConstraint("account_id", "idempotency_key", name="uq_batches_account_id"),
    Index("ix_batches_finished_at", "finished_at", "account_id"),
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", String(36), ForeignKey("batches.id"), primary_key=True),
    Column("position", Integer, primary_key=True),  # in the batch, from 0
    Column("reference", Text),  # the caller's own name for it, as JSON
    Column("inputs", Text, nullable=False),  # its body as JSON; empty once it is done
    Column("is_done", Boolean, nullable=False),
    # Who runs it, and until when nobody else may.
    Column("owner", String(32)),
    Column("lease_until", UtcDateTime()),
    Column("n_faults", Integer, nullable=False),  # engines that failed while they ran it
    Column("is_success", Boolean),
    Column("result", Text),  # JSON of its result, or of its errors
    Column("prompt_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("neurons", Float, nullable=False),
    Index("ix_batch_items_is_done", "is_done", "batch_id", "position"),
)
