"""The event log of one tenant: validation and deduplication of events, and their effect on leaderboards.

Tests compare with three counts per event_id. `received` counts arrivals. `effects` counts the events that were
accepted and are not repeats. `scored` counts the events that changed a score: an event for an unknown or inactive
board is accepted (202) and scores nothing.
Assumptions: one endpoint takes both forms of event. An event without event_id gets one and is never a repeat. Event
ids are separate for each tenant.
"""

import math
from collections import deque
from typing import Any

from gateway.sandbox.boards import Board
from gateway.sandbox.scoring import points_for
from gateway.sandbox.settings import Settings

_TEXTS = ("event_id", "leaderboard_id", "event_type", "timestamp")
_OBJECTS = ("metadata", "attributes", "attrs", "actor")


class EventLog:
    """Events, boards and counts of one tenant."""

    __slots__ = ("_generated_ids", "_order", "_seen", "boards", "effects", "received", "scored", "tenant_id")

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.boards: dict[str, Board] = {}
        self.received: dict[str, int] = {}
        self.effects: dict[str, int] = {}
        self.scored: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        self._order: deque[tuple[float, str]] = deque()
        self._generated_ids = 0

    def accept(self, event: dict[str, Any], now_s: float, settings: Settings) -> tuple[str, bool]:
        """Accept one valid event. Return its id, and True if it is a repeat: a repeat has no effect."""
        event_id = event.get("event_id")
        if event_id is None:
            self._generated_ids += 1
            event_id = f"sandbox-{self._generated_ids}"
        if settings.count_effects:
            self.received[event_id] = self.received.get(event_id, 0) + 1
        if settings.dedupe:
            if self._is_repeat(event_id, now_s, settings.dedupe_window_s):
                return event_id, True
            self._seen[event_id] = now_s
            self._order.append((now_s, event_id))
        if settings.count_effects:
            self.effects[event_id] = self.effects.get(event_id, 0) + 1
        if self._score(event) and settings.count_effects:
            self.scored[event_id] = self.scored.get(event_id, 0) + 1
        return event_id, False

    def counts(self, event_id: str) -> dict[str, int]:
        """Return the three counts of an event id."""
        return {
            "received": self.received.get(event_id, 0),
            "effects": self.effects.get(event_id, 0),
            "scored": self.scored.get(event_id, 0),
        }

    def _is_repeat(self, event_id: str, now_s: float, window_s: float) -> bool:
        order = self._order
        while order and now_s - order[0][0] > window_s:
            at, old = order.popleft()
            if self._seen.get(old) == at:
                del self._seen[old]
        at_first = self._seen.get(event_id)
        return at_first is not None and now_s - at_first <= window_s

    def _score(self, event: dict[str, Any]) -> bool:
        moved = False
        delta = event.get("score_delta")
        if delta is not None:
            board = self.boards.get(event["leaderboard_id"])
            if board is not None and board.status == "active":
                board.window.add(event["user_id"], delta)
                moved = True
        elif "event_type" in event:
            for board in self.boards.values():
                points = points_for(board.config, event) if board.status == "active" else None
                if points is not None:
                    board.window.add(event["user_id"], points)
                    moved = True
        return moved


def event_error(event: object) -> str | None:
    """Return what is wrong with an event, or None if it is valid.

    Required: tenant_id, leaderboard_id, user_id, score_delta (a JSON number). An event with `event_type` (source: Rate
    Limits and Quotas) needs neither score_delta nor leaderboard_id.
    """
    if not isinstance(event, dict):
        return "event must be an object"
    for name in ("tenant_id", "user_id"):
        value = event.get(name)
        if not isinstance(value, str) or not value:
            return f"{name} is required and must be a string"
    delta = event.get("score_delta")
    if delta is None:
        if "event_type" not in event or "score_delta" in event:
            return "score_delta is required and must be a number"
    else:
        if isinstance(delta, bool) or not isinstance(delta, int | float) or not math.isfinite(delta):
            return "score_delta must be a number"
        if "leaderboard_id" not in event:
            return "leaderboard_id is required and must be a string"
    for name in _TEXTS:
        if name in event and (not isinstance(event[name], str) or not event[name]):
            return f"{name} must be a string"
    for name in _OBJECTS:
        if name in event and not isinstance(event[name], dict):
            return f"{name} must be an object"
    return None
