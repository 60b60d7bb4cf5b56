"""Build the indexes that a PostgreSQL database lacks, while gateways serve.

A migration builds no index of a table that holds rows: all claims would wait for it. One gateway at a time builds them
here, one after the other, with CREATE INDEX CONCURRENTLY. A transaction of its own holds the lock, because behind a
pooler a session keeps none. Meanwhile a query that needs the index is slow, and nothing fails. An index whose build was
interrupted is replaced. SQLite's indexes are built by its migrations: one file has one writer anyway.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, DropIndex

from gateway.telemetry.logs import log

_LOCK = 0x5067_7765_7603
"""Only ever tried: a transaction that waits for it would block the build. One that has it and idles does not."""
_INDEXES = sa.text("""
SELECT c.relname AS name, i.indisvalid AS is_valid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE pg_table_is_visible(c.oid)
""")


def is_built_later(connection: sa.Connection, table: str) -> bool:
    """Tell whether a migration leaves an index of this table to `build_missing`."""
    if connection.dialect.name != "postgresql":
        return False
    return bool(connection.execute(sa.select(sa.exists().select_from(sa.table(table)))).scalar_one())


def are_complete(connection: sa.Connection, tables: Iterable[sa.Table]) -> bool:
    """Tell whether all indexes of these tables exist."""
    return not _missing(connection, [index for table in tables for index in table.indexes])


def become_builder(connection: sa.Connection) -> bool:
    """Begin a transaction, and tell whether this gateway builds what is missing for as long as it is open."""
    connection.exec_driver_sql("BEGIN")
    has_lock = bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))))
    # Last, because this statement needs no snapshot: the build would wait for the one that a SELECT leaves open.
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    return has_lock


def build_missing(connection: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Build what is missing on a connection in autocommit mode that ends with it, for as long as it takes.

    Raises: SQLAlchemyError. Interrupted, it leaves an index that the next one replaces.
    """
    missing = _missing(connection, [index for table in tables for index in table.indexes])
    if missing and not connection.connection.driver_connection.is_pooled:  # type: ignore[union-attr]
        # The role's limits for ordinary statements would interrupt this again and again.
        connection.execute(sa.text("SET statement_timeout = 0"))
        connection.execute(sa.text("SET lock_timeout = 0"))
    for index in missing:
        log().info("building an index beside the traffic", kind=index.name)
        concurrent = _concurrent(index)
        connection.execute(DropIndex(concurrent, if_exists=True))  # one whose build was interrupted
        connection.execute(CreateIndex(concurrent))
        log().info("index built", kind=index.name)


def _missing(connection: sa.Connection, wanted: Iterable[sa.Index]) -> list[sa.Index]:
    valid = {row.name for row in connection.execute(_INDEXES) if row.is_valid}
    return [index for index in wanted if index.name not in valid]


def _concurrent(index: sa.Index) -> sa.Index:
    """Return a copy of the index that PostgreSQL builds without blocking writers."""
    assert index.table is not None
    table = index.table.to_metadata(sa.MetaData())
    copy = next(one for one in table.indexes if one.name == index.name)
    copy.dialect_options["postgresql"]["concurrently"] = True
    return copy
