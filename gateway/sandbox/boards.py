"""Leaderboards of one tenant: windows, scores, ranks, snapshots. Pure: the time is an argument.

Assumptions, as the vendor says nothing: equal scores rank by user id and no two users share a rank; a window ends
only when control rolls it; its key is the hour it opened in, `2025-11-18T12`; the snapshot of a window is taken at
the moment it closes.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

STATUSES = ("active", "inactive", "archived")


@dataclass(slots=True)
class Window:
    """Scores of one time window; `closed_at` None while it is the active one; `changes` counts what moved it."""

    key: str
    closed_at: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    changes: int = 0
    _order: list[str] | None = None
    _places: dict[str, int] = field(default_factory=dict)

    def add(self, user_id: str, delta: float) -> None:
        """Add to a user's score (aggregation `sum`)."""
        self.scores[user_id] = self.scores.get(user_id, 0) + delta
        self.changes += 1
        self._order = None

    def ordered(self) -> list[str]:
        """Return the user ids, best score first; the list belongs to the window."""
        if self._order is None:
            scores = self.scores
            self._order = sorted(scores, key=lambda user: (-scores[user], user))
            self._places = {user: place for place, user in enumerate(self._order)}
        return self._order

    def place(self, user_id: str) -> int | None:
        """Return the zero-based place of a user, None without an entry."""
        self.ordered()
        return self._places.get(user_id)

    def entries(self, offset: int, limit: int) -> list[tuple[int, str, float]]:
        """Return (rank, user id, score) of a page."""
        page = self.ordered()[offset : offset + limit]
        return [(offset + index + 1, user, self.scores[user]) for index, user in enumerate(page)]

    def entry(self, user_id: str) -> tuple[int, str, float] | None:
        """Return (rank, user id, score) of a user, None without an entry."""
        place = self.place(user_id)
        return None if place is None else (place + 1, user_id, self.scores[user_id])


@dataclass(slots=True, kw_only=True)
class Board:
    """One leaderboard: its definition, its active window and the completed ones, oldest first."""

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
        """Return the board as the admin host tells it."""
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
        """Change the status; scores stay, and back to active only later events count."""
        self.status = status
        self.version += 1
        self.updated_at = instant(now_s)

    def roll(self, now_s: float, key: str | None = None) -> Window:
        """Close the active window with a snapshot, open the next; return the closed one.

        A given `key` names the new window. Keys and snapshot times stay unique: an occupied hour or second moves on.
        """
        at = now_s
        taken = {window.closed_at for window in self.closed}
        while instant(at) in taken:
            at += 1
        ended = self.window
        ended.closed_at = instant(at)
        self.closed.append(ended)
        self.window = Window(key or self._free_key(now_s))
        return ended

    def find_window(self, key: str | None) -> Window | None:
        """Return the window a read means: "current" and keys exactly; None falls back past an empty active one."""
        if key == "current":
            return self.window
        if key is None:
            return self.closed[-1] if not self.window.scores and self.closed else self.window
        return next((window for window in [*self.closed, self.window] if window.key == key), None)

    def snapshot(self, time: str) -> Window | None:
        """Return the completed window whose snapshot was taken then."""
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
    """Return an active, empty board whose first window opens now."""
    at = instant(now_s)
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


def instant(now_s: float) -> str:
    """Return an RFC 3339 time in UTC, whole seconds."""
    return datetime.fromtimestamp(int(now_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hour_key(time: datetime) -> str:
    """Return the window key of an hour."""
    return time.strftime("%Y-%m-%dT%H")
