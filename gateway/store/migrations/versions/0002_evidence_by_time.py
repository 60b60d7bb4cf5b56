"""An index to read money moves by time.

Where PostgreSQL holds moves already it is built beside the traffic (indexes.py): here it would hold up all claims.
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
    """Make the index, unless it was made by hand or is built later."""
    if not is_built_later(op.get_bind(), "wallet_operations"):
        columns = ["operator_code", "environment", "received_at_us"]
        op.create_index(_NAME, "wallet_operations", columns, if_not_exists=True)


def downgrade() -> None:
    """Drop the index; no evidence is in it alone."""
    op.drop_index(_NAME, table_name="wallet_operations", if_exists=True)
