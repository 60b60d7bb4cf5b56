"""Takes a schema down and up again, as an operator would by hand."""

from __future__ import annotations

import asyncio

from gateway.store.database import Database
from gateway.store.migrate import migrate

_WITHIN_S = 10.0


async def indexes_are_built() -> None:
    """Wait for the databases opened so far: one that still looks for missing indexes would build what a test drops."""
    async with asyncio.timeout(_WITHIN_S):
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "evidence-indexes"))


async def migrate_by_hand(database: Database, *, down_to: str | None = None) -> None:
    """Change the schema, while nothing else does."""
    await database.check(_WITHIN_S)
    await indexes_are_built()
    await database.write(lambda connection, _now: migrate(connection, down_to=down_to), _WITHIN_S)
