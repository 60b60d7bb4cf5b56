"""What all tables share: metadata, column types, and INSERT ... ON CONFLICT.

Changes are migrations (migrations/versions). They are additive, because old and new gateways serve at the same time; a
test compares the tables with the migrations. Text from Phoenix is compared byte for byte (COLLATE "C").
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Protocol, TypeVar

import orjson
import sqlalchemy as sa

metadata = sa.MetaData()

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
RowNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows by INTEGER keys only


class ConflictInsert(Protocol):
    """What the INSERT statements of SQLite and PostgreSQL share beyond the standard."""

    @property
    def excluded(self) -> Any:
        """The new row that conflicts with an existing one."""
        ...

    def values(self, **columns: Any) -> ConflictInsert:
        """Compute these columns in SQL."""
        ...

    def from_select(self, names: list[str], select: sa.Select[*tuple[Any, ...]]) -> ConflictInsert:
        """Insert the rows of a query."""
        ...

    def on_conflict_do_nothing(self, *, index_elements: Iterable[str]) -> sa.Insert:
        """Leave an existing row unchanged."""
        ...

    def on_conflict_do_update(self, *, index_elements: Iterable[str], set_: dict[str, Any]) -> sa.Insert:
        """Change an existing row."""
        ...


def insert_into(connection: sa.Connection, table: sa.Table) -> ConflictInsert:
    """Return the INSERT of this database, with ON CONFLICT. It does not ask for the keys of new rows."""
    insert: ConflictInsert = _insert_of(connection.dialect.name)(table).inline()
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
    """Return the distinct values, with the last one repeated up to a power of two.

    IN lists then have few different lengths, so that the caches of prepared statements are effective.
    """
    distinct = list(dict.fromkeys(values))
    length = 1 << max(len(distinct) - 1, 0).bit_length()
    return distinct + distinct[-1:] * (length - len(distinct))


def is_in_list(dialect: str, column: sa.Column[str], name: str) -> sa.ColumnElement[bool]:
    """Tell in SQL whether a column has one of the texts of a parameter, which `list_parameter` makes.

    For statements that run often. SQLAlchemy rewrites the text of an IN list each time; SQLite reads a list from JSON.
    """
    if dialect == "sqlite":
        texts = sa.func.json_each(sa.bindparam(name, type_=sa.Text)).table_valued("value")
        return column.in_(sa.select(texts.c.value))
    return column.in_(sa.bindparam(name, expanding=True))


def list_parameter(connection: sa.Connection, values: Iterable[str]) -> str | list[str]:
    """Return the parameter of `is_in_list`."""
    if connection.dialect.name == "sqlite":
        return orjson.dumps(list(values)).decode()
    return pad_in_list(values)
