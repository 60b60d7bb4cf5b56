"""The tables of the chain: the journal, the blocks, the lease of the sequencer, and public keys.

They are in the same database and metadata as the tables of evidence/tables.py. Long texts are the last columns.
"""

from __future__ import annotations

import sqlalchemy as sa

from gateway.store.schema import RowNumber, Text, metadata

journal = sa.Table(
    "wallet_journal",
    metadata,
    sa.Column("id", RowNumber, sa.Identity(), primary_key=True),
    sa.Column("operator_code", Text, nullable=False),
    sa.Column("environment", Text, nullable=False),
    sa.Column("entry_count", sa.Integer, nullable=False),
    sa.Column("oldest_received_us", sa.BigInteger, nullable=False),
    sa.Column("newest_received_us", sa.BigInteger, nullable=False),
    sa.Column("entries", Text, nullable=False),
)
"""Lines that are committed but not chained yet, one row for each transaction. Every row waits, whatever its number is:
PostgreSQL commits numbers out of order."""

blocks = sa.Table(
    "wallet_chain",
    metadata,
    sa.Column("operator_code", Text, primary_key=True),
    sa.Column("environment", Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("hash", Text, nullable=False),
    sa.Column("previous_hash", Text, nullable=False),
    sa.Column("chained_at_us", sa.BigInteger, nullable=False),
    sa.Column("first_sequence", sa.BigInteger, nullable=False),
    sa.Column("entry_count", sa.Integer, nullable=False),
    sa.Column("oldest_received_us", sa.BigInteger, nullable=False),
    sa.Column("newest_received_us", sa.BigInteger, nullable=False),
    sa.Column("entries_sha256", Text, nullable=False),
    sa.Column("key_id", Text, nullable=False),
    sa.Column("signature", Text, nullable=False),
    sa.Column("entries", Text, nullable=False),
    # Two blocks cannot follow the same one. With the primary key, this makes a fork impossible.
    sa.UniqueConstraint("operator_code", "environment", "previous_hash", name="uq_wallet_chain_previous"),
)

sequencer = sa.Table(
    "wallet_sequencer",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("holder", Text, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("expires_at_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The lease of the process that chains. `fence` counts the holders."""

public_keys = sa.Table(
    "wallet_keys",
    metadata,
    sa.Column("key_id", Text, primary_key=True),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("first_used_at_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The 32 bytes of each Ed25519 key that verified a webhook or signed a block. They are stored for years."""
