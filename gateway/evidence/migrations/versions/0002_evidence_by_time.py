"""An index to read money moves by time.

Building it holds up claims, and a gateway waits for it no longer than for any call. Before the upgrade of a PostgreSQL
database with millions of moves, make it beside the traffic: CREATE INDEX CONCURRENTLY, the same name and columns.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NAME = "ix_wallet_operations_received"


def upgrade() -> None:
    """Make the index, unless it was made by hand."""
    op.create_index(_NAME, "wallet_operations", ["operator_code", "environment", "received_at_us"], if_not_exists=True)


def downgrade() -> None:
    """Drop the index; no evidence is in it alone."""
    op.drop_index(_NAME, table_name="wallet_operations")
