"""The tables of the evidence, for SQLite and PostgreSQL alike.

Changes come as migrations (migrations/versions) and are additive, because old and new gateways serve
at the same time; a test holds the two together. Large columns stand last, so that reading the short
ones stays cheap. Text that Phoenix sends is compared byte for byte (COLLATE "C").
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

HEAD = "0006"
"""The revision that this code was written for; revisions are numbers in order."""

metadata = sa.MetaData()

_Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows by INTEGER keys only

operations = sa.Table(
    "wallet_operations",
    metadata,
    sa.Column("sequence", _Number, sa.Identity(), primary_key=True),
    sa.Column("operation_id", _Text, nullable=False, unique=True),
    sa.Column("operator_code", _Text, nullable=False),
    sa.Column("environment", _Text, nullable=False),
    sa.Column("operation", _Text, nullable=False),
    sa.Column("idempotency_key", _Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("lease_expires_at_us", sa.BigInteger, nullable=False),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    sa.Column("suspect_replay", sa.Boolean, nullable=False),
    sa.Column("probed_before", sa.Boolean, nullable=False),
    sa.Column("player_id", _Text, nullable=False),
    sa.Column("currency", _Text, nullable=False),
    sa.Column("amount", _Text),
    sa.Column("body_sha256", _Text, nullable=False),
    sa.Column("signature", _Text, nullable=False),
    sa.Column("key_id", _Text, nullable=False),
    sa.Column("request_id", _Text, nullable=False),
    sa.Column("reason", _Text, nullable=False),
    sa.Column("response_status", sa.Integer),
    sa.Column("response_body_sha256", _Text),
    sa.Column("recorded_at_us", sa.BigInteger),
    sa.Column("operator_transaction_id", _Text),
    sa.Column("operator_reservation_id", _Text),
    sa.Column("available_amount", _Text),
    sa.Column("available_currency", _Text),
    sa.Column("reserved_amount", _Text),
    sa.Column("reserved_currency", _Text),
    sa.Column("processed_at_us", sa.BigInteger),
    sa.Column("amount_json", _Text, nullable=False),
    sa.Column("references_json", _Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("response_body", sa.LargeBinary),
    sa.Column("journaled", sa.Integer),
    # The one constraint that decides who claims. The key comes first: it alone finds the row, also for a
    # probe that does not name the operation.
    sa.UniqueConstraint(
        "idempotency_key", "operator_code", "environment", "operation", name="uq_wallet_operations_move"
    ),
    # Listing by time. New rows go to its end, so it costs a claim about half a microsecond.
    sa.Index("ix_wallet_operations_received", "operator_code", "environment", "received_at_us"),
    # Moves that are in no journal: those of a gateway older than the chain.
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
    sa.Column("body_sha256", _Text, primary_key=True),
    sa.Column("operator_code", _Text, primary_key=True),
    sa.Column("environment", _Text, primary_key=True),
    sa.Column("first_operation_id", _Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Which move brought a signed body first; any other is a suspect replay."""

probes = sa.Table(
    "wallet_probes",
    metadata,
    sa.Column("idempotency_key", _Text, primary_key=True),
    sa.Column("operator_code", _Text, primary_key=True),
    sa.Column("environment", _Text, primary_key=True),
    sa.Column("original_operation", _Text, primary_key=True),
    sa.Column("first_probed_at_us", sa.BigInteger, nullable=False),
    sa.Column("last_probed_at_us", sa.BigInteger, nullable=False),
    sa.Column("probe_count", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

incidents = sa.Table(
    "wallet_incidents",
    metadata,
    sa.Column("sequence", _Number, sa.Identity(), primary_key=True),
    sa.Column("operation_id", _Text, nullable=False),
    sa.Column("reason", _Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("response_status", sa.Integer, nullable=False),
    sa.Column("response_body_sha256", _Text, nullable=False),
    sa.Column("operator_transaction_id", _Text, nullable=False),
    sa.Column("operator_reservation_id", _Text, nullable=False),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    # A wallet that repeats a refused outcome adds nothing.
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
    sa.Column("operation_id", _Text, primary_key=True),
    sa.Column("replay_count", sa.BigInteger, nullable=False),
    sa.Column("last_replayed_at_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How often recorded responses were given again. Beside the moves: their rows stay as they were written."""

conflicts = sa.Table(
    "wallet_conflicts",
    metadata,
    sa.Column("sequence", _Number, sa.Identity(), primary_key=True),
    sa.Column("operation_id", _Text, nullable=False),
    sa.Column("body_sha256", _Text, nullable=False),
    sa.Column("first_received_at_us", sa.BigInteger, nullable=False),
    sa.Column("last_received_at_us", sa.BigInteger, nullable=False),
    sa.Column("conflict_count", sa.BigInteger, nullable=False),
    sa.Column("signature", _Text, nullable=False),
    sa.Column("key_id", _Text, nullable=False),
    sa.Column("request_id", _Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    # Phoenix repeats a call: each body is kept once.
    sa.UniqueConstraint("operation_id", "body_sha256", name="uq_wallet_conflicts_body"),
)
"""Signed calls that came with the key of a move and asked for something else."""


class ConflictInsert(Protocol):
    """What SQLite's and PostgreSQL's INSERT have in common beyond the standard."""

    @property
    def excluded(self) -> Any:
        """The row that met another."""
        ...

    def on_conflict_do_nothing(self, *, index_elements: Iterable[str]) -> sa.Insert:
        """Leave a row that is there as it is."""
        ...

    def on_conflict_do_update(self, *, index_elements: Iterable[str], set_: dict[str, Any]) -> sa.Insert:
        """Change a row that is there."""
        ...


def insert_into(connection: sa.Connection, table: sa.Table) -> ConflictInsert:
    """Return the INSERT of the database at hand, which knows ON CONFLICT."""
    insert: ConflictInsert = _insert_of(connection.dialect.name)(table)
    return insert


@cache
def _insert_of(dialect: str) -> Any:
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert
    from sqlalchemy.dialects import postgresql

    return postgresql.insert


_Value = TypeVar("_Value")


def padded(values: Iterable[_Value]) -> list[_Value]:
    """Return the distinct values, the last one repeated up to a power of two.

    An IN list then has few lengths, so that the databases' caches of prepared statements hold.
    """
    distinct = list(dict.fromkeys(values))
    length = 1 << max(len(distinct) - 1, 0).bit_length()
    return distinct + distinct[-1:] * (length - len(distinct))
