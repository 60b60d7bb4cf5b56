"""The protocol of answers that replicas share: the stored answer, its greatest possible age, and who may fetch.

reads.py implements it with Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlace:
    """The place of one answer. `name` identifies the answer among all reads of the tenant."""

    tenant_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRead:
    """An authentic answer. `age_s`: at least its true age when Redis was read, even if clocks are wrong."""

    payload: bytes
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The result of a lookup. `leased`: this replica got the lease and must fetch."""

    found: SharedRead | None
    leased: bool


class SharedReads(Protocol):
    """Answers shared by replicas. Every method raises CacheUnavailable if the cache cannot be reached."""

    async def lookup(self, place: ReadPlace, *, lease_s: float) -> Lookup:
        """Read the answer and try to get the lease, which expires by itself."""
        ...

    async def publish(self, place: ReadPlace, payload: bytes, *, age_s: float, keep_s: float, release: bool) -> None:
        """Store an answer of this age for `keep_s`. `release`: also release the lease, which must still be ours."""
        ...

    async def release(self, place: ReadPlace) -> None:
        """Release the lease, which must still be ours."""
        ...
