"""Track which windows of a board are closed, from Phoenix's answers.

Window keys have no known order, and a named window may be the active one. So a window is closed only when a snapshot of
it is listed, or when the board was seen in a later window. A grace time of one minute lets late events be scored. Times
are monotonic seconds of this process. Source: gamification.md 2.2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

GRACE_S = 60.0
MAX_BOARDS = 10_000
MAX_WINDOWS = 64
"""Windows remembered for one board; the oldest is dropped first. A dropped window is only cached for a shorter time."""

Board = tuple[str, str]


@dataclass(slots=True)
class _Seen:
    first: OrderedDict[str, float] = field(default_factory=OrderedDict)
    closed: OrderedDict[str, float] = field(default_factory=OrderedDict)


class ClosedWindows:
    """The closed windows known so far."""

    def __init__(self) -> None:
        """Start empty."""
        self._boards: OrderedDict[Board, _Seen] = OrderedDict()

    def saw_page(self, board: Board, *, window_key: str, is_active: bool, asked_at: float, answered_at: float) -> None:
        """Record a page with entries. `is_active`: the caller named no window, or the current one."""
        if not window_key:
            return
        seen = self._of(board)
        first = seen.first.setdefault(window_key, answered_at)
        if is_active:
            for other, other_first in seen.first.items():
                # First seen before the active window appeared, and before this request, so it was active earlier.
                if other != window_key and other_first < first and other_first <= asked_at:
                    seen.closed.setdefault(other, answered_at)
            seen.closed.pop(window_key, None)
        _bound(seen.first)
        _bound(seen.closed)

    def saw_snapshots(self, board: Board, window_keys: Iterable[str], answered_at: float) -> None:
        """Record the windows of listed snapshots."""
        seen = self._of(board)
        for window_key in window_keys:
            if window_key:
                seen.closed.setdefault(window_key, answered_at)
        _bound(seen.closed)

    def is_final(self, board: Board, window_key: str, asked_at: float) -> bool:
        """Tell whether the answer to a request at this time is final for the window."""
        seen = self._boards.get(board)
        closed_at = None if seen is None else seen.closed.get(window_key)
        return closed_at is not None and asked_at >= closed_at + GRACE_S

    def _of(self, board: Board) -> _Seen:
        seen = self._boards.get(board)
        if seen is None:
            seen = self._boards[board] = _Seen()
            if len(self._boards) > MAX_BOARDS:
                self._boards.popitem(last=False)
        else:
            self._boards.move_to_end(board)
        return seen


def _bound(windows: OrderedDict[str, float]) -> None:
    while len(windows) > MAX_WINDOWS:
        windows.popitem(last=False)
