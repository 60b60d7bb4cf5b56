"""The values of cached reads: keys, fetched values, cache entries, answers and settings.

Times are monotonic seconds of this process.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.errors import PhoenixNotFound
from gateway.resilience.deadline import Deadline

_OF_ONE_USER = frozenset({"rank", "score", "snapshot_user"})
_FIELDS = {
    "leaderboard": ("leaderboard_id", "window_key"),
    "neighbors": ("leaderboard_id", "window_key", "user_id"),
    "rank": ("leaderboard_id", "user_id"),
    "score": ("leaderboard_id", "user_id"),
    "snapshot": ("leaderboard_id", "snapshot_time"),
    "snapshot_user": ("leaderboard_id", "snapshot_time", "user_id"),
}


class ReadKey(NamedTuple):
    """The key of one answer. `detail`: what distinguishes it from others of its kind on the same board."""

    tenant_id: str
    leaderboard_id: str
    what: str
    detail: tuple[str, ...]

    @property
    def board(self) -> tuple[str, str]:
        """The board. All answers of a board share one part of the cache."""
        return (self.tenant_id, self.leaderboard_id)

    @property
    def purpose(self) -> str:
        """The label in metrics."""
        return "rank" if self.what in _OF_ONE_USER else "leaderboard"

    @property
    def fields(self) -> tuple[str, ...]:
        """The request fields that identify it, for the error if it is missing."""
        return _FIELDS.get(self.what, ("leaderboard_id",))

    @property
    def name(self) -> str:
        """A text that is unique among the keys of the tenant."""
        return json.dumps([self.leaderboard_id, self.what, *self.detail], separators=(",", ":"))


class Source(enum.Enum):
    """The source of an answer."""

    LIVE = "live"
    CACHE = "cache"
    STALE = "stale"
    SOCKET = "socket"

    text: str
    """The value, as an attribute of the member: `value` looks it up each time."""

    def __init__(self, text: str) -> None:
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A fetched value: the serialised answer without its freshness. `is_final`: it will not change any more."""

    payload: bytes
    window_key: str = ""
    is_final: bool = False


Fetch = Callable[[Deadline], Awaitable[Fetched]]


@dataclass(slots=True, kw_only=True)
class CacheEntry:
    """An answer in the cache of this process. `as_of`: just before the request to Phoenix; the data is not older.

    Exactly one of `value` and `absent` is set. `rest_until`: no refresh before this time, because the last one failed.
    """

    as_of: float
    value: Fetched | None
    absent: PhoenixNotFound | None = None
    is_live: bool
    rest_until: float = 0.0


class ReadAnswer(NamedTuple):
    """A serialised answer without its freshness, and the freshness. `age_s` is at least the true age of the data."""

    payload: bytes
    window_key: str
    source: Source
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCacheSettings:
    """How long answers may be served, in seconds, and how much is cached."""

    fresh_s: float = 1.0
    """How long an answer is fresh. One second: boards change with every event, and one call per second is little."""
    fresh_by_board: Mapping[str, float] = field(default_factory=dict)
    """Fresh times of single boards, by id."""
    behind_times: float = 5.0
    """Up to this multiple of the fresh time, an answer is served at once while a refresh runs; then callers wait."""
    failing_s: float = 60.0
    """How long an old answer may be served while Phoenix fails."""
    final_s: float = 3600.0
    """How long an answer that cannot change is fresh: closed windows, snapshots."""
    absent_s: float = 1.0
    """How long a 404 is cached: enough for many concurrent callers, but too short to hide a new board."""
    rest_s: float = 1.0
    """Time without another refresh after a failed one, while an answer can be served."""
    patience_s: float = 0.3
    """How long a caller waits for a newer answer if an older one may be served."""
    refresh_s: float = 10.0
    """Longest time of a background refresh."""
    fleet_wait_s: float = 1.0
    """How long to wait for another replica's fetch before fetching here."""
    lease_s: float = 2.0
    """How long a replica may fetch for the fleet: longer than most answers take, but short if the replica dies."""
    poll_s: float = 0.02
    """Time between checks whether another replica has finished."""
    max_bytes: int = 32 * 1024 * 1024
    """Memory of the cache in this process."""
    board_share: float = 0.25
    """The share of this memory that one board may use."""

    def fresh_for(self, key: ReadKey) -> float:
        """Return the fresh time of a board's answers."""
        return self.fresh_of(key.leaderboard_id)

    def fresh_of(self, leaderboard_id: str) -> float:
        """Return the fresh time by board id."""
        return self.fresh_by_board.get(leaderboard_id, self.fresh_s)
