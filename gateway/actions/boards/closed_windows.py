"""Which windows of a board are closed, as far as the answers of Phoenix prove it.

Keys of windows have no known order, and a named window may be the active one. So a window counts as closed only once a
snapshot of it is listed, or once the board has been seen in a window that came up after it. A minute of grace lets
events that were on their way be scored. Times are the process's monotonic seconds. Source: gamification.md 2.2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

GRACE_S = 60.0
MAX_BOARDS = 10_000
MAX_WINDOWS = 64
"""Windows remembered of one board, the first seen going first: a window forgotten is only cached more shortly."""

Board = tuple[str, str]


@dataclass(slots=True)
class _Seen:
    first: OrderedDict[str, float] = field(default_factory=OrderedDict)
    closed: OrderedDict[str, float] = field(default_factory=OrderedDict)


class ClosedWindows:
    """What has been learned so far."""

    def __init__(self) -> None:
        """Begin knowing nothing."""
        self._boards: OrderedDict[Board, _Seen] = OrderedDict()

    def saw_page(self, board: Board, *, window_key: str, is_active: bool, asked_at: float, answered_at: float) -> None:
        """Learn from a page that has entries. `is_active`: the caller named no window, or the current one."""
        if not window_key:
            return
        seen = self._of(board)
        first = seen.first.setdefault(window_key, answered_at)
        if is_active:
            for other, other_first in seen.first.items():
                # Seen before this one came up, and before this was asked: it was active then, or earlier still.
                if other != window_key and other_first < first and other_first <= asked_at:
                    seen.closed.setdefault(other, answered_at)
            seen.closed.pop(window_key, None)
        _bound(seen.first)
        _bound(seen.closed)

    def saw_snapshots(self, board: Board, window_keys: Iterable[str], answered_at: float) -> None:
        """Learn from a list of snapshots."""
        seen = self._of(board)
        for window_key in window_keys:
            if window_key:
                seen.closed.setdefault(window_key, answered_at)
        _bound(seen.closed)

    def is_final(self, board: Board, window_key: str, asked_at: float) -> bool:
        """Whether what was asked for at that time is the last that this window will ever say."""
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
