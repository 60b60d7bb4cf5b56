"""Builds what indexes a PostgreSQL database lacks, beside the traffic.

A migration builds no index of a table that holds rows: all claims would wait for it. They are built here, one after the
other, by one gateway at a time, while every gateway serves: what needs an index is slow for so long, and nothing fails.
An index whose building was cut off is made anew. SQLite's are built by its migrations: one file has one writer anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from gateway.telemetry.logs import log

_LOCK = 0x5067_7765_7603
"""An advisory lock of the session, only ever tried: who waited for it in a transaction would hold up the building."""
_THERE = """
SELECT c.relname AS name, i.indisvalid AS valid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE pg_table_is_visible(c.oid)
"""


def is_built_later(connection: sa.Connection, table: str) -> bool:
    """Tell whether a migration leaves an index of this table to `build_missing`."""
    if connection.dialect.name != "postgresql":
        return False
    return bool(connection.execute(sa.select(sa.exists().select_from(sa.table(table)))).scalar_one())


async def build_missing(connection: Any, tables: Iterable[sa.Table]) -> bool:
    """Build what is missing on an asyncpg connection of its own, for as long as it takes.

    Returns: whether all are there now; False: another gateway is at it.
    Raises: what asyncpg raises. Cancelled, it leaves an index that the next one makes anew.
    """
    wanted = {str(index.name): index for table in tables for index in table.indexes}
    valid = await _valid(connection)
    if all(valid.get(name) for name in wanted):
        return True
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        return False
    # What the role sets for ordinary statements would cut this off, again and again.
    await connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
    valid = await _valid(connection)
    for name, index in wanted.items():
        if valid.get(name):
            continue
        log().info("building an index beside the traffic", kind=name)
        if name in valid:
            await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"')
        await connection.execute(_statement(index))
        log().info("index built", kind=name)
    return True


async def _valid(connection: Any) -> dict[str, bool]:
    return {row["name"]: row["valid"] for row in await connection.fetch(_THERE)}


def _statement(index: sa.Index) -> str:
    made = str(sa.schema.CreateIndex(index).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    return made.replace("INDEX", "INDEX CONCURRENTLY", 1)
