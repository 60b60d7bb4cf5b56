"""The list of kill switches in the database that a fleet shares, so that a restart of the whole fleet forgets nothing.

One row. The `encode` and `decode` arguments decide whether it is sealed. A row that cannot be read counts as empty, and
the next decision replaces it.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from gateway.core.switches import Switches
from gateway.store.database import Database
from gateway.store.schema import metadata

LIMIT_S = 3.0
_ONLY = 1

table = sa.Table(
    "switches",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)


class StoredSwitches:
    """Implements SharedSwitches of kill_switches.py with a database. Every method raises StoreUnavailable."""

    def __init__(
        self,
        database: Database,
        *,
        encode: Callable[[Switches], bytes],
        decode: Callable[[bytes], Switches],
    ) -> None:
        """Args: `decode` returns an empty list for invalid bytes, and never raises."""
        self._database = database
        self._encode = encode
        self._decode = decode

    async def merge(self, own: Switches) -> Switches:
        """Merge both lists, write the result if the row lacks something, and return it."""
        stored = self._decoded(await self._database.read(_read, LIMIT_S))
        merged = own.merged(stored)
        if stored.merged(merged) is stored:
            return merged
        return await self._database.write(lambda connection, now: self._write(connection, own), LIMIT_S, exclusive=True)

    def _write(self, connection: sa.Connection, own: Switches) -> Switches:
        held = _read(connection, 0)
        merged = own.merged(self._decoded(held))
        content = self._encode(merged)
        if held is None:
            connection.execute(table.insert().values(id=_ONLY, content=content))
        else:
            connection.execute(table.update().where(table.c.id == _ONLY).values(content=content))
        return merged

    def _decoded(self, content: bytes | None) -> Switches:
        return Switches() if content is None else self._decode(content)


def _read(connection: sa.Connection, now: int) -> bytes | None:
    found = connection.execute(sa.select(table.c.content).where(table.c.id == _ONLY)).scalar_one_or_none()
    return None if found is None else bytes(found)
