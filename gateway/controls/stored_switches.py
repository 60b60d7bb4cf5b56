"""The list of what is switched off, in the database that a fleet shares: so that a start of all of it forgets nothing.

One row. What it holds is sealed or not by whoever gives `encode` and `decode`; a row that cannot be read counts as
empty and is written anew by the next decision. Source: issue 8, point 8.
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
    """The SharedSwitches of actions/watch_switches.py over a database. Every method raises StoreUnavailable."""

    def __init__(
        self,
        database: Database,
        *,
        encode: Callable[[Switches], bytes],
        decode: Callable[[bytes], Switches],
    ) -> None:
        """Args: `decode` returns an empty list for what is not to be believed, and raises nothing."""
        self._database = database
        self._encode = encode
        self._decode = decode

    async def merge(self, own: Switches) -> Switches:
        """Return what both know together, having told what was new there."""
        stored = self._decoded(await self._database.read(_read, LIMIT_S))
        together = own.merged(stored)
        if stored.merged(together) is stored:
            return together
        return await self._database.write(lambda connection, now: self._write(connection, own), LIMIT_S, exclusive=True)

    def _write(self, connection: sa.Connection, own: Switches) -> Switches:
        held = _read(connection, 0)
        together = own.merged(self._decoded(held))
        content = self._encode(together)
        if held is None:
            connection.execute(table.insert().values(id=_ONLY, content=content))
        else:
            connection.execute(table.update().where(table.c.id == _ONLY).values(content=content))
        return together

    def _decoded(self, content: bytes | None) -> Switches:
        return Switches() if content is None else self._decode(content)


def _read(connection: sa.Connection, now: int) -> bytes | None:
    found = connection.execute(sa.select(table.c.content).where(table.c.id == _ONLY)).scalar_one_or_none()
    return None if found is None else bytes(found)
