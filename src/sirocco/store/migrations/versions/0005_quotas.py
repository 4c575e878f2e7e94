"""Limits of accounts, what they used each day, and what running requests may still use."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give no account a limit of its own; days are counted from now on."""
    op.add_column("accounts", sa.Column("daily_neurons", sa.Float(), nullable=True))
    op.add_column("accounts", sa.Column("daily_tokens", sa.BigInteger(), nullable=True))
    op.add_column("accounts", sa.Column("per_minute", sa.Integer(), nullable=True))
    op.create_table(
        "daily_usage",
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("micro_neurons", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "day", name="pk_daily_usage"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_daily_usage_account_id"),
    )
    op.create_table(
        "reservations",
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("micro_neurons", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_reservations"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_reservations_account_id"),
    )
    op.create_index("ix_reservations_account_id", "reservations", ["account_id"])


def downgrade() -> None:
    """Forget all limits."""
    op.drop_table("reservations")
    op.drop_table("daily_usage")
    for name in ("daily_neurons", "daily_tokens", "per_minute"):
        op.drop_column("accounts", name)
