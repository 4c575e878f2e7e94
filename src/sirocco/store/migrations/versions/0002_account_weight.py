"""The weight of an account: its share of an engine beside others."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give every account the weight 1."""
    op.add_column(
        "accounts", sa.Column("weight", sa.Float(), nullable=False, server_default=sa.text("1"))
    )


def downgrade() -> None:
    """Forget the weights."""
    # Not in a batch: that copies the table, and other tables point at it.
    op.drop_column("accounts", "weight")
