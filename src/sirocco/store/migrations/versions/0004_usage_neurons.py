"""What each request cost."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count what was used so far as free: there were no prices."""
    op.add_column(
        "usage", sa.Column("neurons", sa.Float(), nullable=False, server_default=sa.text("0"))
    )


def downgrade() -> None:
    """Forget the costs."""
    # Not in a batch: that copies the table.
    op.drop_column("usage", "neurons")
