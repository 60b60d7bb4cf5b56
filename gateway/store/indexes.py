"""Build the indexes that a PostgreSQL database lacks, while gateways serve.

A migration builds no index of a table that holds rows: all claims would wait for it. One gateway at a time builds them
here, one after the other, with CREATE INDEX CONCURRENTLY. Meanwhile a query that needs the index is slow, and nothing
fails. An index whose build was interrupted is replaced. SQLite's indexes are built by its migrations: one file has one
writer anyway.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, DropIndex

from gateway.telemetry.logs import log

_LOCK = 0x5067_7765_7603
"""An advisory lock of the session, only ever tried: waiting for it in a transaction would block the build."""
_INDEXES = sa.text("""
SELECT c.relname AS name, i.indisvalid AS is_valid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE pg_table_is_visible(c.oid)
""")


def is_built_later(connection: sa.Connection, table: str) -> bool:
    """Tell whether a migration leaves an index of this table to `build_missing`."""
    if connection.dialect.name != "postgresql":
        return False
    return bool(connection.execute(sa.select(sa.exists().select_from(sa.table(table)))).scalar_one())


def build_missing(connection: sa.Connection, tables: Iterable[sa.Table]) -> bool:
    """Build what is missing on a connection in autocommit mode that ends with it, for as long as it takes.

    Returns: whether all indexes exist now; False: another gateway builds them.
    Raises: SQLAlchemyError. Interrupted, it leaves an index that the next one replaces.
    """
    wanted = [index for table in tables for index in table.indexes]
    if not _missing(connection, wanted):
        return True
    if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_LOCK))):
        return False
    # The role's limits for ordinary statements would interrupt this again and again.
    connection.execute(sa.text("SET statement_timeout = 0"))
    connection.execute(sa.text("SET lock_timeout = 0"))
    for index in _missing(connection, wanted):
        log().info("building an index beside the traffic", kind=index.name)
        concurrent = _concurrent(index)
        connection.execute(DropIndex(concurrent, if_exists=True))  # one whose build was interrupted
        connection.execute(CreateIndex(concurrent))
        log().info("index built", kind=index.name)
    return True


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
