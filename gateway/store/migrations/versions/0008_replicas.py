"""The replicas that deliver durable events, and the time of leases on SQLite."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "durable_replicas",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", _text, nullable=False),
        sa.Column("beats", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "store_clock",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("boot_id", _text, nullable=False),
        sa.Column("offset_us", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables. Older gateways end leases by their time alone."""
    op.drop_table("durable_replicas")
    op.drop_table("store_clock")
