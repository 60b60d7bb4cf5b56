"""Read access to the chain for the rest of the gateway: its heads, and its parts for an export."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from gateway.errors import DeadlineTooShort, StoreUnavailable
from gateway.evidence.chain.blocks import Block
from gateway.evidence.chain.public_keys import keys_of
from gateway.evidence.chain.reading import ChainPart, ChainRange, chain_part, head_number, heads, unchained
from gateway.resilience.deadline import Deadline
from gateway.store.database import Database, T, Work

_CHECK_EVERY_S = 0.2


class ChainArchive:
    """Reads the chain of one database. Every method raises StoreUnavailable and DeadlineTooShort."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def heads(self, deadline: Deadline) -> tuple[list[Block], dict[str, bytes]]:
        """Return the head of every chain, and the public keys that signed the heads, by id."""
        found = await self._read(lambda connection, _now: heads(connection), deadline)
        return found, await self.keys({head.header.key_id for head in found}, deadline)

    async def head_number(self, wanted: ChainRange, deadline: Deadline) -> int:
        """Return the number of the newest block; 0 if there is none."""
        return await self._read(lambda connection, _now: head_number(connection, wanted), deadline)

    async def part(self, wanted: ChainRange, after: int, deadline: Deadline) -> ChainPart:
        """Return the next blocks of the range after this block number; 0 starts with the first one."""
        return await self._read(lambda connection, _now: chain_part(connection, wanted, after), deadline)

    async def keys(self, key_ids: Iterable[str], deadline: Deadline) -> dict[str, bytes]:
        """Return the 32 bytes of the stored keys, by id."""
        wanted = {key_id for key_id in key_ids if key_id}
        if not wanted:
            return {}
        return await self._read(lambda connection, _now: keys_of(connection, wanted), deadline)

    async def wait_chained(self, wanted: ChainRange, deadline: Deadline) -> None:
        """Wait until everything committed so far is chained. Raises: StoreUnavailable if the deadline is too near."""
        rows: frozenset[int] | None = None
        while rows is None or rows:
            rows = await self._read(_still_waiting(wanted, rows), deadline)
            if rows == frozenset():
                return
            if deadline.remaining() <= _CHECK_EVERY_S:
                raise StoreUnavailable("The evidence is not chained yet. Try again later.")
            await asyncio.sleep(_CHECK_EVERY_S)

    async def _read(self, work: Work[T], deadline: Deadline) -> T:
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineTooShort
        return await self._database.read(work, remaining)


def _still_waiting(wanted: ChainRange, rows: frozenset[int] | None) -> Work[frozenset[int] | None]:
    return lambda connection, _now: unchained(connection, wanted, rows)
