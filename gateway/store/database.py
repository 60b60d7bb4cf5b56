"""What a database must do: run one function in one transaction, durable when it returns.

The work is one plain function over a SQLAlchemy connection; the drivers (sqlite.py, postgres.py) run it
in a transaction and turn every trouble of theirs into StoreUnavailable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection, int], T]
"""Does something inside one transaction; gets the connection and the time that leases go by (microseconds).

It may be run again when the transaction was undone or its commit's answer was lost, so it must be repeatable.
"""

FILE_NAME = "evidence.sqlite3"


class Database(Protocol):
    """One database, its schema up to date. All methods raise StoreUnavailable and nothing else of their own."""

    async def write(self, work: Work[T], limit_s: float, *, exclusive: bool = False) -> T:
        """Run `work` in a transaction that is durable when this returns.

        `exclusive`: no other writer's transaction overlaps this one.
        """
        ...

    async def read(self, work: Work[T], limit_s: float) -> T:
        """Run `work`, which changes nothing."""
        ...

    async def stop(self) -> None:
        """Close every connection; what runs may be cut off."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Where evidence is kept."""

    url: str | None = field(default=None, repr=False)
    """`postgresql://...`, which several machines share; None: SQLite in `data_dir`, for one machine."""
    data_dir: Path = Path("var")
    """Directory of the SQLite file; made (0700) when it is not there."""
    connections: int = 4
    """Most connections to PostgreSQL of this process: one writes, the others read."""
