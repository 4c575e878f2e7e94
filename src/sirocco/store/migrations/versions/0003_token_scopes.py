"""What an API token may do."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let every API token go on doing what it could: everything."""
    every = sa.text("'ai:read ai:run'")
    op.add_column(
        "api_tokens", sa.Column("scopes", sa.String(200), nullable=False, server_default=every)
    )


def downgrade() -> None:
    """Forget the scopes: every API token may do everything."""
    # Not in a batch: that copies the table, and other tables point at it.
    op.drop_column("api_tokens", "scopes")
