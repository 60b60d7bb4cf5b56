"""Leaderboards of one tenant: windows, scores, ranks and snapshots. Pure: the time is an argument.

Assumptions: users with equal scores are ordered by user id, and no two users share a rank. A window ends only when
the control listener closes it. Its key is the hour in which it opened, such as `2025-11-18T12`. The snapshot of a
window is taken when the window closes.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

STATUSES = ("active", "inactive", "archived")


@dataclass(slots=True)
class Window:
    """Scores of one time window. `closed_at` is None while it is active. `changes` counts the score changes."""

    key: str
    closed_at: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    changes: int = 0
    _order: list[str] | None = None
    _indexes: dict[str, int] = field(default_factory=dict)

    def add(self, user_id: str, delta: float) -> None:
        """Add to a user's score (aggregation `sum`)."""
        self.scores[user_id] = self.scores.get(user_id, 0) + delta
        self.changes += 1
        self._order = None

    def ranked_users(self) -> list[str]:
        """Return the user ids, best score first. Do not change the list: the window keeps it."""
        if self._order is None:
            scores = self.scores
            self._order = sorted(scores, key=lambda user: (-scores[user], user))
            self._indexes = {user: index for index, user in enumerate(self._order)}
        return self._order

    def index_of(self, user_id: str) -> int | None:
        """Return the zero-based index of a user, or None if the user has no entry."""
        self.ranked_users()
        return self._indexes.get(user_id)

    def entries(self, offset: int, limit: int) -> list[tuple[int, str, float]]:
        """Return (rank, user id, score) of a page."""
        page = self.ranked_users()[offset : offset + limit]
        return [(offset + index + 1, user, self.scores[user]) for index, user in enumerate(page)]

    def entry(self, user_id: str) -> tuple[int, str, float] | None:
        """Return (rank, user id, score) of a user, or None if the user has no entry."""
        index = self.index_of(user_id)
        return None if index is None else (index + 1, user_id, self.scores[user_id])


@dataclass(slots=True, kw_only=True)
class Board:
    """One leaderboard: its definition, its active window and its closed windows, oldest first."""

    tenant_id: str
    leaderboard_id: str
    name: str
    description: str
    config: dict[str, Any]
    created_at: str
    updated_at: str
    window: Window
    status: str = "active"
    version: int = 1
    closed: list[Window] = field(default_factory=list)

    def definition(self) -> dict[str, Any]:
        """Return the board in the form of the admin host."""
        return {
            "leaderboard_id": self.leaderboard_id,
            "tenant_id": self.tenant_id,
            "name": self.name,
            "description": self.description,
            "status": self.status,
            "version": self.version,
            "config": self.config,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }

    def set_status(self, status: str, now_s: float) -> None:
        """Change the status. Scores stay. Events that arrived while the board was not active are not counted later."""
        self.status = status
        self.version += 1
        self.updated_at = rfc3339(now_s)

    def roll(self, now_s: float, key: str | None = None) -> Window:
        """Close the active window with a snapshot and open the next. Return the closed window.

        `key` is the key of the new window; without it, the current hour. Keys and snapshot times stay unique: if an
        hour or second is in use, the next free one is taken.
        """
        at = now_s
        taken = {window.closed_at for window in self.closed}
        while rfc3339(at) in taken:
            at += 1
        ended = self.window
        ended.closed_at = rfc3339(at)
        self.closed.append(ended)
        self.window = Window(key or self._free_key(now_s))
        return ended

    def find_window(self, key: str | None) -> Window | None:
        """Return the window with this key; "current" is the active one.

        Without a key: the active window, or the last closed one if the active one is empty.
        """
        if key == "current":
            return self.window
        if key is None:
            return self.closed[-1] if not self.window.scores and self.closed else self.window
        return next((window for window in [*self.closed, self.window] if window.key == key), None)

    def snapshot(self, time: str) -> Window | None:
        """Return the closed window with this snapshot time."""
        return next((window for window in self.closed if window.closed_at == time), None)

    def _free_key(self, now_s: float) -> str:
        hour = datetime.fromtimestamp(now_s, UTC)
        taken = {window.key for window in self.closed}
        while hour_key(hour) in taken:
            hour += timedelta(hours=1)
        return hour_key(hour)


def new_board(
    tenant_id: str, leaderboard_id: str, now_s: float, *, name: str = "", description: str = "", config: Any = None
) -> Board:
    """Return an active, empty board. Its first window opens at `now_s`."""
    at = rfc3339(now_s)
    return Board(
        tenant_id=tenant_id,
        leaderboard_id=leaderboard_id,
        name=name or leaderboard_id,
        description=description,
        config=config or {},
        created_at=at,
        updated_at=at,
        window=Window(hour_key(datetime.fromtimestamp(now_s, UTC))),
    )


def rfc3339(now_s: float) -> str:
    """Return an RFC 3339 time in UTC, whole seconds."""
    return datetime.fromtimestamp(int(now_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hour_key(time: datetime) -> str:
    """Return the window key of an hour."""
    return time.strftime("%Y-%m-%dT%H")
