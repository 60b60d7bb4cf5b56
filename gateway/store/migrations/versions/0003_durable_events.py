"""Durable events, and their order (`lane`: the ordering key)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "durable_events",
        sa.Column("sequence", _number, sa.Identity(), primary_key=True),
        sa.Column("tenant_id", _text, nullable=False),
        sa.Column("event_id", _text, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("lane", sa.BigInteger, nullable=False),
        sa.Column("is_id_given", sa.Integer, nullable=False),
        sa.Column("accepted_at_us", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_sent_at_us", sa.BigInteger),
        sa.Column("done_at_us", sa.BigInteger),
        sa.Column("reason", _text),
        sa.Column("detail", _text),
        sa.Column("digest", _text, nullable=False),
        sa.Column("leaderboard_id", _text, nullable=False),
        sa.Column("user_id", _text, nullable=False),
        sa.Column("body", _text),
        sa.UniqueConstraint("event_id", "tenant_id", name="uq_durable_events_id"),
    )
    _index("ix_durable_events_lane", ["lane", "sequence"], "state = 0")
    _index("ix_durable_events_dead", ["tenant_id", "sequence"], "state = 2")
    _index("ix_durable_events_done", ["state", "done_at_us"], "done_at_us IS NOT NULL")
    op.create_table(
        "durable_lanes",
        sa.Column("lane", _number, primary_key=True, autoincrement=False),
        sa.Column("tenant_id", _text, nullable=False),
        sa.Column("pending", sa.Integer, nullable=False),
        sa.Column("pending_bytes", sa.BigInteger, nullable=False),
        sa.Column("due_at_us", sa.BigInteger, nullable=False),
        sa.Column("lease_id", sa.BigInteger),
    )
    op.create_index("ix_durable_lanes_due", "durable_lanes", ["tenant_id", "due_at_us"])


def downgrade() -> None:
    """Drop the tables, only if no event waits for delivery or is a dead letter."""
    waiting = op.get_bind().execute(sa.text("SELECT EXISTS (SELECT 1 FROM durable_events WHERE state <> 1)"))
    if waiting.scalar_one():
        raise RuntimeError("durable_events has events that Phoenix does not have; deliver or discard them first")
    op.drop_table("durable_lanes")
    op.drop_table("durable_events")


def _index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "durable_events", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
