"""What all tables share: their metadata, the schema's revision, column types, and INSERT ... ON CONFLICT.

Changes come as migrations (migrations/versions) and are additive, because old and new gateways serve at the same time;
a test holds the tables and the migrations together. Text that Phoenix sends is compared byte for byte (COLLATE "C").
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

HEAD = "0006"
"""The revision that this code was written for; revisions are numbers in order."""

metadata = sa.MetaData()

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
RowNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows by INTEGER keys only


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


def pad_in_list(values: Iterable[_Value]) -> list[_Value]:
    """Return the distinct values, the last one repeated up to a power of two.

    An IN list then has few lengths, so that the databases' caches of prepared statements hold.
    """
    distinct = list(dict.fromkeys(values))
    length = 1 << max(len(distinct) - 1, 0).bit_length()
    return distinct + distinct[-1:] * (length - len(distinct))
