"""Answers that replicas share, as whoever reads sees them: what lies there, how old it is at most, who may fetch.

The real thing is reads.py. Source: issue 6, point 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlace:
    """Where one answer lies: `name` tells apart everything that one tenant can read."""

    tenant_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRead:
    """An answer whose seal held. `age_s`: never less than its true age when Redis was asked, whatever clocks say."""

    payload: bytes
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was found, and whether the lease is ours now: then it is for us to fetch."""

    found: SharedRead | None
    leased: bool


class SharedReads(Protocol):
    """Answers shared by replicas. Every method raises CacheUnavailable when they are out of reach."""

    async def look(self, place: ReadPlace, *, lease_s: float) -> Look:
        """Read what lies there and try for the lease, which ends by itself."""
        ...

    async def publish(self, place: ReadPlace, payload: bytes, *, age_s: float, keep_s: float, release: bool) -> None:
        """Show an answer of this age for so long; `release`: give back the lease, which is certainly still ours."""
        ...

    async def release(self, place: ReadPlace) -> None:
        """Give back the lease, which is certainly still ours."""
        ...
