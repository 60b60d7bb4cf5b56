"""The kill switches: one row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "switches",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop the table, only if it is empty: a downgrade must not switch anything on."""
    if op.get_bind().execute(sa.select(sa.exists().select_from(sa.table("switches")))).scalar_one():
        raise RuntimeError("switches has kill switches; switch everything on, delete the row, then downgrade")
    op.drop_table("switches")
