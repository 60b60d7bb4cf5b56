"""The tables of the durable events, beside those of the evidence and under the same migrations.

Written once and then changed as little as possible: an event's row is put down, marked before it is sent, and marked or
taken away when it is settled. Whose turn it is stands in the row of its lane. Source: issue 5, point 6.
"""

from __future__ import annotations

import sqlalchemy as sa

from gateway.store.schema import RowNumber, Text, metadata

QUEUED, DELIVERED, DEAD = 0, 1, 2
"""Values of `state`. They stand in the conditions of the indexes below, so queries write them out as well."""

events = sa.Table(
    "durable_events",
    metadata,
    # The order of delivery within a lane.
    sa.Column("sequence", RowNumber, sa.Identity(), primary_key=True),
    sa.Column("tenant_id", Text, nullable=False),
    sa.Column("event_id", Text, nullable=False),
    sa.Column("state", sa.Integer, nullable=False),
    # Board and user as one number; two lanes that meet in it wait for each other, and that is all.
    sa.Column("lane", sa.BigInteger, nullable=False),
    sa.Column("is_id_given", sa.Integer, nullable=False),
    sa.Column("accepted_at_us", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    # Set before the first sending that may have reached Phoenix; null: Phoenix certainly does not have it.
    sa.Column("first_sent_at_us", sa.BigInteger),
    sa.Column("done_at_us", sa.BigInteger),
    sa.Column("reason", Text),
    sa.Column("detail", Text),
    sa.Column("digest", Text, nullable=False),
    sa.Column("leaderboard_id", Text, nullable=False),
    sa.Column("user_id", Text, nullable=False),
    # As it is sent; null once it is delivered.
    sa.Column("body", Text),
    # The one constraint that decides which of two gateways takes an event in.
    sa.UniqueConstraint("event_id", "tenant_id", name="uq_durable_events_id"),
    sa.Index(
        "ix_durable_events_lane",
        "lane",
        "sequence",
        sqlite_where=sa.text("state = 0"),
        postgresql_where=sa.text("state = 0"),
    ),
    sa.Index(
        "ix_durable_events_dead",
        "tenant_id",
        "sequence",
        sqlite_where=sa.text("state = 2"),
        postgresql_where=sa.text("state = 2"),
    ),
    sa.Index(
        "ix_durable_events_done",
        "state",
        "done_at_us",
        sqlite_where=sa.text("done_at_us IS NOT NULL"),
        postgresql_where=sa.text("done_at_us IS NOT NULL"),
    ),
)

lanes = sa.Table(
    "durable_lanes",
    metadata,
    sa.Column("lane", RowNumber, primary_key=True, autoincrement=False),
    sa.Column("tenant_id", Text, nullable=False),
    # Queued events of the lane, and their bytes; at zero the row goes.
    sa.Column("pending", sa.Integer, nullable=False),
    sa.Column("pending_bytes", sa.BigInteger, nullable=False),
    # When its first event may be sent, or the end of the lease of whoever is sending it.
    sa.Column("due_at_us", sa.BigInteger, nullable=False),
    # Which lease; null: nobody's.
    sa.Column("lease_id", sa.BigInteger),
    sa.Index("ix_durable_lanes_due", "tenant_id", "due_at_us"),
)
"""One row for each user and board that has queued events."""
