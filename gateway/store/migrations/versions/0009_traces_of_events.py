"""The trace of the call that queued a durable event, so that its delivery can be linked to it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the column. Older gateways leave it empty."""
    op.add_column("durable_events", sa.Column("trace", _text))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("durable_events", "trace")
