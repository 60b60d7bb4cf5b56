"""Repeated calls with the same key: a count of replays, and the conflicting calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLES = ("wallet_repeats", "wallet_conflicts")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "wallet_repeats",
        sa.Column("operation_id", _text, primary_key=True),
        sa.Column("replay_count", sa.BigInteger, nullable=False),
        sa.Column("last_replayed_at_us", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "wallet_conflicts",
        sa.Column("sequence", _number, sa.Identity(), primary_key=True),
        sa.Column("operation_id", _text, nullable=False),
        sa.Column("body_sha256", _text, nullable=False),
        sa.Column("first_received_at_us", sa.BigInteger, nullable=False),
        sa.Column("last_received_at_us", sa.BigInteger, nullable=False),
        sa.Column("conflict_count", sa.BigInteger, nullable=False),
        sa.Column("signature", _text, nullable=False),
        sa.Column("key_id", _text, nullable=False),
        sa.Column("request_id", _text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("operation_id", "body_sha256", name="uq_wallet_conflicts_body"),
    )


def downgrade() -> None:
    """Drop the tables, only if they are empty: evidence is never deleted."""
    connection = op.get_bind()
    for table in _TABLES:
        if connection.execute(sa.select(sa.exists().select_from(sa.table(table)))).scalar_one():
            raise RuntimeError(f"{table} has evidence, which is never deleted; keep this database and use a new one")
    for table in reversed(_TABLES):
        op.drop_table(table)
