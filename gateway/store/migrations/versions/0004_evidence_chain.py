"""The chain of evidence: journal, blocks, lease and public keys, and an index of moves without a journal line.

If PostgreSQL already has moves, indexes.py builds the index while gateways serve.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.indexes import is_built_later

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INDEX = "ix_wallet_operations_missed"
_EVIDENCE = ("wallet_chain", "wallet_keys")
"""Tables that must be empty for a downgrade. The journal is not one: it can be rebuilt from the moves."""


def upgrade() -> None:
    """Create the tables, the column and the index, unless they exist; the index may be built later."""
    op.create_table(
        "wallet_journal",
        sa.Column("id", _number, sa.Identity(), primary_key=True),
        sa.Column("operator_code", _text, nullable=False),
        sa.Column("environment", _text, nullable=False),
        sa.Column("entry_count", sa.Integer, nullable=False),
        sa.Column("oldest_received_us", sa.BigInteger, nullable=False),
        sa.Column("newest_received_us", sa.BigInteger, nullable=False),
        sa.Column("entries", _text, nullable=False),
    )
    op.create_table(
        "wallet_chain",
        sa.Column("operator_code", _text, primary_key=True),
        sa.Column("environment", _text, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("hash", _text, nullable=False),
        sa.Column("previous_hash", _text, nullable=False),
        sa.Column("chained_at_us", sa.BigInteger, nullable=False),
        sa.Column("first_sequence", sa.BigInteger, nullable=False),
        sa.Column("entry_count", sa.Integer, nullable=False),
        sa.Column("oldest_received_us", sa.BigInteger, nullable=False),
        sa.Column("newest_received_us", sa.BigInteger, nullable=False),
        sa.Column("entries_sha256", _text, nullable=False),
        sa.Column("key_id", _text, nullable=False),
        sa.Column("signature", _text, nullable=False),
        sa.Column("entries", _text, nullable=False),
        sa.UniqueConstraint("operator_code", "environment", "previous_hash", name="uq_wallet_chain_previous"),
    )
    op.create_table(
        "wallet_sequencer",
        sa.Column("name", _text, primary_key=True),
        sa.Column("holder", _text, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("expires_at_us", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "wallet_keys",
        sa.Column("key_id", _text, primary_key=True),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("first_used_at_us", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("wallet_operations")}
    if "journaled" not in there:
        op.add_column("wallet_operations", sa.Column("journaled", sa.Integer))
    empty = sa.text("journaled IS NULL")
    if not is_built_later(op.get_bind(), "wallet_operations"):
        op.create_index(
            _INDEX, "wallet_operations", ["sequence"], if_not_exists=True, sqlite_where=empty, postgresql_where=empty
        )


def downgrade() -> None:
    """Drop the tables, only if they are empty: evidence is never deleted."""
    connection = op.get_bind()
    for table in _EVIDENCE:
        if connection.execute(sa.select(sa.exists().select_from(sa.table(table)))).scalar_one():
            raise RuntimeError(f"{table} has evidence, which is never deleted; keep this database and use a new one")
    op.drop_index(_INDEX, table_name="wallet_operations", if_exists=True)
    op.drop_column("wallet_operations", "journaled")
    for table in ("wallet_keys", "wallet_sequencer", "wallet_chain", "wallet_journal"):
        op.drop_table(table)
