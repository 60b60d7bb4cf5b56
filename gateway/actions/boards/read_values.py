"""What cached reads are made of: keys, what was fetched, what is kept, what is answered, and the settings.

Times are the process's monotonic seconds. Source: issue 6, point 2.
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
    """One thing that can be read. `detail`: whatever tells it from others of its kind on this board."""

    tenant_id: str
    leaderboard_id: str
    what: str
    detail: tuple[str, ...]

    @property
    def board(self) -> tuple[str, str]:
        """The board, whose answers share one part of the cache."""
        return (self.tenant_id, self.leaderboard_id)

    @property
    def purpose(self) -> str:
        """What it counts as."""
        return "rank" if self.what in _OF_ONE_USER else "leaderboard"

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a request that name it: where to look when it is not there."""
        return _FIELDS.get(self.what, ("leaderboard_id",))

    @property
    def name(self) -> str:
        """A text that no other key of the tenant has."""
        return json.dumps([self.leaderboard_id, self.what, *self.detail], separators=(",", ":"))


class Source(enum.Enum):
    """Where an answer was taken from."""

    LIVE = "live"
    CACHE = "cache"
    STALE = "stale"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What Phoenix gave: the serialised answer without its freshness. `is_final`: it never changes any more."""

    payload: bytes
    window_key: str = ""
    is_final: bool = False


Fetch = Callable[[Deadline], Awaitable[Fetched]]


@dataclass(slots=True, kw_only=True)
class Kept:
    """An answer in the process. `as_of`: a moment at which Phoenix had not given it yet, so it is no older than that.

    Exactly one of `value` and `absent` is set. `rest_until`: no refresh before then, the last one failed.
    """

    as_of: float
    value: Fetched | None
    absent: PhoenixNotFound | None = None
    is_live: bool
    rest_until: float = 0.0


class ReadAnswer(NamedTuple):
    """A serialised answer without its freshness, and its freshness. `age_s` is never less than the data's true age."""

    payload: bytes
    window_key: str
    source: Source
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCacheSettings:
    """How long answers are good, in seconds, and how much is kept."""

    fresh_s: float = 1.0
    """Served without asking. One second: boards move with every event, and one call a second a board is little."""
    fresh_by_board: Mapping[str, float] = field(default_factory=dict)
    """Boards with a time of their own, by id."""
    behind_times: float = 5.0
    """Served at once up to so many times the fresh time, while one refresh runs behind; then callers wait for it."""
    failing_s: float = 60.0
    """Served while Phoenix fails."""
    final_s: float = 3600.0
    """Served without asking where nothing changes any more: closed windows, snapshots."""
    absent_s: float = 1.0
    """How long a 404 is remembered: long enough for a stampede, too short to hide a board that was just made."""
    rest_s: float = 1.0
    """No refresh for so long after one that failed, while there is something to serve."""
    patience_s: float = 0.3
    """How long a caller waits for a newer answer while there is an older one that may be served."""
    refresh_s: float = 10.0
    """Longest time of a refresh that nobody waits for."""
    fleet_wait_s: float = 1.0
    """How long to wait for another replica's fetch; then fetch oneself."""
    lease_s: float = 2.0
    """How long a replica keeps others from fetching; longer than most answers take, short if it dies."""
    poll_s: float = 0.02
    """How often to look whether another replica is done."""
    max_bytes: int = 32 * 1024 * 1024
    """Memory of the cache in the process."""
    board_share: float = 0.25
    """Part of it that one board may hold."""

    def fresh_for(self, key: ReadKey) -> float:
        """Return the fresh time of a board's answers."""
        return self.fresh_of(key.leaderboard_id)

    def fresh_of(self, leaderboard_id: str) -> float:
        """Return the same by the board's id."""
        return self.fresh_by_board.get(leaderboard_id, self.fresh_s)
