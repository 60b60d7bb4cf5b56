"""Signed webhooks that could not be read, for a person to settle."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLE = "wallet_unreadable"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        _TABLE,
        sa.Column("sequence", _number, sa.Identity(), primary_key=True),
        sa.Column("webhook_id", _text, nullable=False, unique=True),
        sa.Column("body_sha256", _text, nullable=False),
        sa.Column("operator_code", _text, nullable=False),
        sa.Column("environment", _text, nullable=False),
        sa.Column("idempotency_key", _text, nullable=False),
        sa.Column("route", _text, nullable=False),
        sa.Column("trouble", _text, nullable=False),
        sa.Column("signature", _text, nullable=False),
        sa.Column("key_id", _text, nullable=False),
        sa.Column("request_id", _text, nullable=False),
        sa.Column("first_received_at_us", sa.BigInteger, nullable=False),
        sa.Column("last_received_at_us", sa.BigInteger, nullable=False),
        sa.Column("call_count", sa.BigInteger, nullable=False),
        sa.Column("response_status", sa.Integer),
        sa.Column("settled_at_us", sa.BigInteger),
        sa.Column("settled_by", _text),
        sa.Column("note", _text),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("response_body", sa.LargeBinary),
        sa.UniqueConstraint(
            "body_sha256", "operator_code", "environment", "idempotency_key", name="uq_wallet_unreadable_call"
        ),
    )
    op.create_index("ix_wallet_unreadable_key", _TABLE, ["idempotency_key"])


def downgrade() -> None:
    """Drop the table, only if it is empty: what a person settled must not become a move."""
    if op.get_bind().execute(sa.select(sa.exists().select_from(sa.table(_TABLE)))).scalar_one():
        raise RuntimeError(f"{_TABLE} has webhooks, which are never deleted; keep this database and use a new one")
    op.drop_table(_TABLE)
