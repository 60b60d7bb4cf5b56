"""The tables of the durable events, with the same migrations as the evidence.

A row changes as little as possible: it is inserted, marked before the event is sent, and marked or deleted after that.
The lease of an event is in the row of its ordering key (`lane`).
"""

from __future__ import annotations

import sqlalchemy as sa

from gateway.store.schema import RowNumber, Text, metadata

QUEUED, DELIVERED, DEAD = 0, 1, 2
"""Values of `state`. The conditions of the indexes below use them, so the queries write them out too."""

events = sa.Table(
    "durable_events",
    metadata,
    # The order of delivery within an ordering key.
    sa.Column("sequence", RowNumber, sa.Identity(), primary_key=True),
    sa.Column("tenant_id", Text, nullable=False),
    sa.Column("event_id", Text, nullable=False),
    sa.Column("state", sa.Integer, nullable=False),
    # The ordering key: a hash of board and user. If two collide, their events only wait for each other.
    sa.Column("lane", sa.BigInteger, nullable=False),
    sa.Column("is_id_given", sa.Integer, nullable=False),
    sa.Column("accepted_at_us", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    # Set before the first send that may have reached Phoenix; null: Phoenix certainly does not have the event.
    sa.Column("first_sent_at_us", sa.BigInteger),
    sa.Column("done_at_us", sa.BigInteger),
    sa.Column("reason", Text),
    sa.Column("detail", Text),
    sa.Column("digest", Text, nullable=False),
    sa.Column("leaderboard_id", Text, nullable=False),
    sa.Column("user_id", Text, nullable=False),
    # As it is sent; null after delivery.
    sa.Column("body", Text),
    # Names the call that queued it in its trace; null: the call was not sampled.
    sa.Column("trace", Text),
    # The constraint that decides which of two gateways accepts an event.
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
    # Number and bytes of the queued events. At zero, the row is deleted.
    sa.Column("pending", sa.Integer, nullable=False),
    sa.Column("pending_bytes", sa.BigInteger, nullable=False),
    # When the first event may be sent, or the end of the lease of the gateway that sends it.
    sa.Column("due_at_us", sa.BigInteger, nullable=False),
    # The lease; null: none.
    sa.Column("lease_id", sa.BigInteger),
    sa.Index("ix_durable_lanes_due", "tenant_id", "due_at_us"),
)
"""One row for each user and board that has queued events."""

replicas = sa.Table(
    "durable_replicas",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    # Host and process, for people.
    sa.Column("name", Text, nullable=False),
    # Grows while the replica lives and has leases.
    sa.Column("beats", sa.BigInteger, nullable=False),
)
"""The gateways that lease events; see replicas.py."""
