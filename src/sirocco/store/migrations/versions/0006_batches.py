"""Asynchronous batches: requests that wait, and their results."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables."""
    _create_batches()
    _create_batch_items()


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("api_token_id", sa.String(32), nullable=True),
        sa.Column("model_id", sa.String(200), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("n_items", sa.Integer(), nullable=False),
        sa.Column("n_done", sa.Integer(), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_batches_account_id"),
        sa.ForeignKeyConstraint(
            ["api_token_id"], ["api_tokens.id"], name="fk_batches_api_token_id"
        ),
        sa.UniqueConstraint("account_id", "idempotency_key", name="uq_batches_account_id"),
    )
    op.create_index("ix_batches_finished_at", "batches", ["finished_at", "account_id"])


def _create_batch_items() -> None:
    op.create_table(
        "batch_items",
        sa.Column("batch_id", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("is_done", sa.Boolean(), nullable=False),
        sa.Column("owner", sa.String(32), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("n_faults", sa.Integer(), nullable=False),
        sa.Column("is_success", sa.Boolean(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("neurons", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "position", name="pk_batch_items"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_batch_items_batch_id"),
    )
    op.create_index("ix_batch_items_is_done", "batch_items", ["is_done", "batch_id", "position"])


def downgrade() -> None:
    """Drop the two tables, and what waits in them."""
    op.drop_table("batch_items")
    op.drop_table("batches")
