"""The tables of the wallet evidence, for SQLite and PostgreSQL.

Large columns come last, so that reading the short ones is cheap.
"""

from __future__ import annotations

import sqlalchemy as sa

from gateway.store.schema import RowNumber, Text, metadata

operations = sa.Table(
    "wallet_operations",
    metadata,
    sa.Column("sequence", RowNumber, sa.Identity(), primary_key=True),
    sa.Column("operation_id", Text, nullable=False, unique=True),
    sa.Column("operator_code", Text, nullable=False),
    sa.Column("environment", Text, nullable=False),
    sa.Column("operation", Text, nullable=False),
    sa.Column("idempotency_key", Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("lease_expires_at_us", sa.BigInteger, nullable=False),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    sa.Column("suspect_replay", sa.Boolean, nullable=False),
    sa.Column("probed_before", sa.Boolean, nullable=False),
    sa.Column("player_id", Text, nullable=False),
    sa.Column("currency", Text, nullable=False),
    sa.Column("amount", Text),
    sa.Column("body_sha256", Text, nullable=False),
    sa.Column("signature", Text, nullable=False),
    sa.Column("key_id", Text, nullable=False),
    sa.Column("request_id", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("response_status", sa.Integer),
    sa.Column("response_body_sha256", Text),
    sa.Column("recorded_at_us", sa.BigInteger),
    sa.Column("operator_transaction_id", Text),
    sa.Column("operator_reservation_id", Text),
    sa.Column("available_amount", Text),
    sa.Column("available_currency", Text),
    sa.Column("reserved_amount", Text),
    sa.Column("reserved_currency", Text),
    sa.Column("processed_at_us", sa.BigInteger),
    sa.Column("amount_json", Text, nullable=False),
    sa.Column("references_json", Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("response_body", sa.LargeBinary),
    sa.Column("journaled", sa.Integer),
    # The constraint that decides claims. The key comes first, because it alone finds the row, also for a probe that
    # does not name the operation.
    sa.UniqueConstraint(
        "idempotency_key", "operator_code", "environment", "operation", name="uq_wallet_operations_move"
    ),
    # For listing by time. New rows go to its end, so it costs a claim about half a microsecond.
    sa.Index("ix_wallet_operations_received", "operator_code", "environment", "received_at_us"),
    # Moves without a journal line, from a gateway older than the chain.
    sa.Index(
        "ix_wallet_operations_missed",
        "sequence",
        sqlite_where=sa.text("journaled IS NULL"),
        postgresql_where=sa.text("journaled IS NULL"),
    ),
)

bodies = sa.Table(
    "wallet_bodies",
    metadata,
    sa.Column("body_sha256", Text, primary_key=True),
    sa.Column("operator_code", Text, primary_key=True),
    sa.Column("environment", Text, primary_key=True),
    sa.Column("first_operation_id", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""The move that first used a signed body. Any other move with this body is a suspect replay."""

probes = sa.Table(
    "wallet_probes",
    metadata,
    sa.Column("idempotency_key", Text, primary_key=True),
    sa.Column("operator_code", Text, primary_key=True),
    sa.Column("environment", Text, primary_key=True),
    sa.Column("original_operation", Text, primary_key=True),
    sa.Column("first_probed_at_us", sa.BigInteger, nullable=False),
    sa.Column("last_probed_at_us", sa.BigInteger, nullable=False),
    sa.Column("probe_count", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

incidents = sa.Table(
    "wallet_incidents",
    metadata,
    sa.Column("sequence", RowNumber, sa.Identity(), primary_key=True),
    sa.Column("operation_id", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("response_status", sa.Integer, nullable=False),
    sa.Column("response_body_sha256", Text, nullable=False),
    sa.Column("operator_transaction_id", Text, nullable=False),
    sa.Column("operator_reservation_id", Text, nullable=False),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    # A repeated refused outcome adds no row.
    sa.UniqueConstraint(
        "operation_id",
        "reason",
        "attempt",
        "response_status",
        "response_body_sha256",
        "operator_transaction_id",
        "operator_reservation_id",
        name="uq_wallet_incidents_outcome",
    ),
)


repeats = sa.Table(
    "wallet_repeats",
    metadata,
    sa.Column("operation_id", Text, primary_key=True),
    sa.Column("replay_count", sa.BigInteger, nullable=False),
    sa.Column("last_replayed_at_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Replay counts. They are not in the rows of the moves, because those rows stay as they were written."""

conflicts = sa.Table(
    "wallet_conflicts",
    metadata,
    sa.Column("sequence", RowNumber, sa.Identity(), primary_key=True),
    sa.Column("operation_id", Text, nullable=False),
    sa.Column("body_sha256", Text, nullable=False),
    sa.Column("first_received_at_us", sa.BigInteger, nullable=False),
    sa.Column("last_received_at_us", sa.BigInteger, nullable=False),
    sa.Column("conflict_count", sa.BigInteger, nullable=False),
    sa.Column("signature", Text, nullable=False),
    sa.Column("key_id", Text, nullable=False),
    sa.Column("request_id", Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    # Phoenix repeats calls, so each body is stored once.
    sa.UniqueConstraint("operation_id", "body_sha256", name="uq_wallet_conflicts_body"),
)
"""Signed calls with the key of a move and other content."""

unreadable = sa.Table(
    "wallet_unreadable",
    metadata,
    sa.Column("sequence", RowNumber, sa.Identity(), primary_key=True),
    sa.Column("webhook_id", Text, nullable=False, unique=True),
    sa.Column("body_sha256", Text, nullable=False),
    sa.Column("operator_code", Text, nullable=False),
    sa.Column("environment", Text, nullable=False),
    sa.Column("idempotency_key", Text, nullable=False),
    sa.Column("route", Text, nullable=False),
    sa.Column("trouble", Text, nullable=False),
    sa.Column("signature", Text, nullable=False),
    sa.Column("key_id", Text, nullable=False),
    sa.Column("request_id", Text, nullable=False),
    sa.Column("first_received_at_us", sa.BigInteger, nullable=False),
    sa.Column("last_received_at_us", sa.BigInteger, nullable=False),
    sa.Column("call_count", sa.BigInteger, nullable=False),
    sa.Column("response_status", sa.Integer),
    sa.Column("settled_at_us", sa.BigInteger),
    sa.Column("settled_by", Text),
    sa.Column("note", Text),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("response_body", sa.LargeBinary),
    sa.UniqueConstraint(
        "body_sha256", "operator_code", "environment", "idempotency_key", name="uq_wallet_unreadable_call"
    ),
    # For a probe, which has only the key.
    sa.Index("ix_wallet_unreadable_key", "idempotency_key"),
)
"""Signed webhooks that could not be read, and how a person settled them."""
