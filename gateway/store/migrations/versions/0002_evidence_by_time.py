"""An index to read money moves by time.

If PostgreSQL already has moves, indexes.py builds it while gateways serve, because here it would block all claims.
"""

from __future__ import annotations

from alembic import op

from gateway.store.indexes import is_built_later

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NAME = "ix_wallet_operations_received"


def upgrade() -> None:
    """Create the index, unless it exists or is built later."""
    if not is_built_later(op.get_bind(), "wallet_operations"):
        columns = ["operator_code", "environment", "received_at_us"]
        op.create_index(_NAME, "wallet_operations", columns, if_not_exists=True)


def downgrade() -> None:
    """Drop the index; it contains no data of its own."""
    op.drop_index(_NAME, table_name="wallet_operations", if_exists=True)
