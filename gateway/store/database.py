"""The protocol of a database: run one function in one transaction, durable when it returns.

The function takes a SQLAlchemy connection. sqlite.py and postgres.py run it in a transaction and turn each of their
errors into StoreUnavailable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import sqlalchemy as sa

from gateway.store.failures import Failure

T = TypeVar("T")
Work = Callable[[sa.Connection, int], T]
"""Runs inside one transaction, with the connection and its time of day (microseconds). Leases use `steady_us_of`.

It may run again after a rollback or a lost commit answer, so it must be repeatable, or look at
`Pipelined.may_be_committed`.
"""


class Database(Protocol):
    """One database with an up-to-date schema. The only error of its own that a method raises is StoreUnavailable."""

    @property
    def system(self) -> str:
        """What it is, as OpenTelemetry names it: `sqlite` or `postgresql`."""
        ...

    @property
    def has_many_writers(self) -> bool:
        """Whether transactions that write run at the same time."""
        ...

    @property
    def failure(self) -> Failure | None:
        """Why it does not work, as the last transactions showed; None while it works."""
        ...

    @property
    def clock_ahead_s(self) -> float | None:
        """By how many seconds our wall clock is ahead of the database's; None if it has none, or nothing was read."""
        ...

    async def write(self, work: Work[T], limit_s: float, *, exclusive: bool = False) -> T:
        """Run `work` in a transaction that is durable when this returns.

        `exclusive`: no other writer's transaction overlaps this one.
        """
        ...

    async def read(self, work: Work[T], limit_s: float) -> T:
        """Run `work`, which must not change anything."""
        ...

    async def check_usable(self, limit_s: float) -> None:
        """Look at the database once before the start.

        Raises: DatabaseUnusable if it can never work as configured. A database that is down is logged, no more.
        """
        ...

    async def check(self, limit_s: float) -> bool:
        """Return whether the schema is up to date. Raises: StoreUnavailable, also while nothing can be written."""
        ...

    def on_change(self, notice: Callable[[], None]) -> None:
        """Call `notice` on the event loop whenever the database stops or begins to work."""
        ...

    async def stop(self) -> None:
        """Close every connection. Running work may be interrupted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Where the data is stored."""

    url: str | None = field(default=None, repr=False)
    """`postgresql://...`, shared by several machines; None: SQLite in `data_dir`, for one machine."""
    data_dir: Path = Path("var")
    """Directory of the SQLite file; created (0700) if it is missing."""
    connections: int = 4
    """Maximum connections of this process to PostgreSQL: one writes, the others read."""
