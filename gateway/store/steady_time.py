"""The time of leases on SQLite: it does not jump when the host's clock is set, and all processes of a host agree on it.

It is the monotonic clock of the host plus an offset, which makes it the time of day as it was when the host's first
process opened the file. The offset is in the file, with the id of the boot: a monotonic clock starts again at each
boot, and then so does the offset. Where the system tells no boot id, each process has an offset of its own.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from gateway.resilience.clock import Clock
from gateway.store.schema import Text, insert_into, metadata

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ONE = 1

store_clock = sa.Table(
    "store_clock",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("boot_id", Text, nullable=False),
    sa.Column("offset_us", sa.BigInteger, nullable=False),
)
"""One row. PostgreSQL leaves it empty: there, leases use the time of the database."""


def boot_id() -> str:
    """Return what identifies this boot of the host; empty where the system does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class SteadyTime:
    """The time of leases in one process. `agree` comes first, in a transaction that may write."""

    def __init__(self, clock: Clock, boot: str) -> None:
        """Args: `boot`: see `boot_id`."""
        self._clock = clock
        self._boot = boot
        self._offset_us = self._own_offset_us()
        self._agreed = not boot

    def now_us(self) -> int:
        """Return the time, in microseconds."""
        return self._offset_us + self._monotonic_us()

    def agree(self, connection: sa.Connection) -> None:
        """Take over the offset of this boot, or set it for the other processes."""
        if self._agreed:
            return
        row = connection.execute(sa.select(store_clock).where(store_clock.c.id == _ONE)).one_or_none()
        if row is not None and row.boot_id == self._boot:
            self._offset_us = row.offset_us
            return
        self._offset_us = self._own_offset_us()
        new = {"boot_id": self._boot, "offset_us": self._offset_us}
        upsert = insert_into(connection, store_clock).on_conflict_do_update(index_elements=("id",), set_=new)
        connection.execute(upsert, {"id": _ONE, **new})

    def agreed(self) -> None:
        """Note that the transaction of `agree` is committed."""
        self._agreed = True

    def _own_offset_us(self) -> int:
        return round(self._clock.now() * 1_000_000) - self._monotonic_us()

    def _monotonic_us(self) -> int:
        return round(self._clock.monotonic() * 1_000_000)
