"""What operators have switched off: one row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "switches",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop it, while it holds nothing: what is switched off must not come on by a downgrade."""
    if op.get_bind().execute(sa.select(sa.exists().select_from(sa.table("switches")))).scalar_one():
        raise RuntimeError("switches holds what is switched off; delete its row when nothing is, then go down")
    op.drop_table("switches")
