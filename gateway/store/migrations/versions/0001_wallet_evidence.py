"""The first tables: money moves, bodies, probes, incidents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLES = ("wallet_operations", "wallet_bodies", "wallet_probes", "wallet_incidents")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "wallet_operations",
        sa.Column("sequence", _number, sa.Identity(), primary_key=True),
        sa.Column("operation_id", _text, nullable=False, unique=True),
        sa.Column("operator_code", _text, nullable=False),
        sa.Column("environment", _text, nullable=False),
        sa.Column("operation", _text, nullable=False),
        sa.Column("idempotency_key", _text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("lease_expires_at_us", sa.BigInteger, nullable=False),
        sa.Column("received_at_us", sa.BigInteger, nullable=False),
        sa.Column("suspect_replay", sa.Boolean, nullable=False),
        sa.Column("probed_before", sa.Boolean, nullable=False),
        sa.Column("player_id", _text, nullable=False),
        sa.Column("currency", _text, nullable=False),
        sa.Column("amount", _text),
        sa.Column("body_sha256", _text, nullable=False),
        sa.Column("signature", _text, nullable=False),
        sa.Column("key_id", _text, nullable=False),
        sa.Column("request_id", _text, nullable=False),
        sa.Column("reason", _text, nullable=False),
        sa.Column("response_status", sa.Integer),
        sa.Column("response_body_sha256", _text),
        sa.Column("recorded_at_us", sa.BigInteger),
        sa.Column("operator_transaction_id", _text),
        sa.Column("operator_reservation_id", _text),
        sa.Column("available_amount", _text),
        sa.Column("available_currency", _text),
        sa.Column("reserved_amount", _text),
        sa.Column("reserved_currency", _text),
        sa.Column("processed_at_us", sa.BigInteger),
        sa.Column("amount_json", _text, nullable=False),
        sa.Column("references_json", _text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("response_body", sa.LargeBinary),
        sa.UniqueConstraint(
            "idempotency_key", "operator_code", "environment", "operation", name="uq_wallet_operations_move"
        ),
    )
    op.create_table(
        "wallet_bodies",
        sa.Column("body_sha256", _text, primary_key=True),
        sa.Column("operator_code", _text, primary_key=True),
        sa.Column("environment", _text, primary_key=True),
        sa.Column("first_operation_id", _text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "wallet_probes",
        sa.Column("idempotency_key", _text, primary_key=True),
        sa.Column("operator_code", _text, primary_key=True),
        sa.Column("environment", _text, primary_key=True),
        sa.Column("original_operation", _text, primary_key=True),
        sa.Column("first_probed_at_us", sa.BigInteger, nullable=False),
        sa.Column("last_probed_at_us", sa.BigInteger, nullable=False),
        sa.Column("probe_count", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "wallet_incidents",
        sa.Column("sequence", _number, sa.Identity(), primary_key=True),
        sa.Column("operation_id", _text, nullable=False),
        sa.Column("reason", _text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("response_status", sa.Integer, nullable=False),
        sa.Column("response_body_sha256", _text, nullable=False),
        sa.Column("operator_transaction_id", _text, nullable=False),
        sa.Column("operator_reservation_id", _text, nullable=False),
        sa.Column("received_at_us", sa.BigInteger, nullable=False),
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


def downgrade() -> None:
    """Drop the tables, only if they are empty: evidence is never deleted."""
    connection = op.get_bind()
    for table in _TABLES:
        if connection.execute(sa.select(sa.exists().select_from(sa.table(table)))).scalar_one():
            raise RuntimeError(f"{table} has evidence, which is never deleted; keep this database and use a new one")
    for table in reversed(_TABLES):
        op.drop_table(table)
