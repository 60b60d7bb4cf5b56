"""A live board's state: what a full page or a change makes of it, and when only a new page can tell.

Pure rules. A board is never guessed: a change that cannot be applied for certain leaves it as it is and asks for a
page. Leaves the vendor's member names to wire_socket.py, connections to the streams room. Source: gamification.md 3.2
to 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.core.types import TenantId
from gateway.core.wire import Entry, Page

DEFAULT_PAGE_SIZE = 100
CURRENT_WINDOW = "current"
_UNNAMED = ("", CURRENT_WINDOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What a watcher looks at. `window_key`: "" or "current" for the active one; `top_n`: None for no filter."""

    tenant_id: TenantId
    leaderboard_id: str
    window_key: str = ""
    page_size: int = DEFAULT_PAGE_SIZE
    top_n: int | None = None

    @property
    def limit(self) -> int:
        """How many entries the board shows at most."""
        return self.page_size if self.top_n is None else min(self.page_size, self.top_n)

    @property
    def is_default(self) -> bool:
        """Whether Phoenix shows this without being told."""
        return self.window_key in _UNNAMED and self.page_size == DEFAULT_PAGE_SIZE and self.top_n is None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullPage:
    """A page as Phoenix sent it. `certain` False: its kind does not say whether it is a page or the changed entries."""

    page: Page
    sequence: int | None = None
    certain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Entries that are new or stand elsewhere, and users that left. `ranked` False: it names no places."""

    window_key: str
    entries: tuple[Entry, ...]
    removed: frozenset[str]
    total: int | None = None
    sequence: int | None = None
    ranked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Nothing happened; the connection lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A message of a type that is not known here."""


Frame = FullPage | Change | Heartbeat | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What is known within one connection. `page` None: nothing yet. `sequence`: Phoenix's own, where it sends one."""

    topic: Topic
    page: Page | None = None
    sequence: int | None = None
    pages_seen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a frame made of a board. `needs_page`: only a new page can tell how it stands now; `is_page`: one came."""

    board: Board
    changed: bool = False
    needs_page: bool = False
    is_page: bool = False


def apply(board: Board, frame: Frame) -> Applied:
    """Return the board after one frame; the same frame again changes nothing."""
    match frame:
        case FullPage():
            if not frame.certain and not _is_whole(board, frame.page):
                return _change(board, _as_change(frame))
            return _full(board, frame)
        case Change():
            return _change(board, frame)
        case Heartbeat() | Ignored():
            return Applied(board=board)


def _full(board: Board, frame: FullPage) -> Applied:
    topic = board.topic
    seen = replace(board, pages_seen=board.pages_seen + 1)
    if _is_older(board, frame.sequence):
        return Applied(board=seen)
    if topic.window_key not in _UNNAMED and frame.page.window_key not in ("", topic.window_key):
        return Applied(board=seen, needs_page=board.page is None)
    if board.pages_seen == 0 and not topic.is_default and not _answers(frame.page, topic):
        # Phoenix sends its default page at once, before it has read what was configured; the answer to that follows.
        return Applied(board=seen)
    page = _cut(frame.page, topic)
    sequence = board.sequence if frame.sequence is None else frame.sequence
    return Applied(board=replace(seen, page=page, sequence=sequence), changed=page != board.page, is_page=True)


def _change(board: Board, change: Change) -> Applied:
    if board.page is None:
        return Applied(board=board, needs_page=True)
    if change.sequence is not None and board.sequence is not None:
        if change.sequence <= board.sequence:
            return Applied(board=board)
        if change.sequence > board.sequence + 1:
            return Applied(board=board, needs_page=True)
    other_window = change.window_key not in ("", board.page.window_key)
    if other_window or not change.ranked:
        return Applied(board=board, needs_page=True)
    by_user = {entry.user_id: entry for entry in board.page.entries if entry.user_id not in change.removed}
    by_user.update({entry.user_id: entry for entry in change.entries})
    total = board.page.total if change.total is None else change.total
    entries = sorted(by_user.values(), key=lambda entry: entry.rank)[: board.topic.limit]
    is_short = len(entries) < min(board.topic.limit, total if total is not None else len(board.page.entries))
    if is_short or not is_plausible(entries):
        return Applied(board=board, needs_page=True)
    page = Page(window_key=board.page.window_key, entries=tuple(entries), total=total)
    sequence = board.sequence if change.sequence is None else change.sequence
    return Applied(board=replace(board, page=page, sequence=sequence), changed=page != board.page)


def is_plausible(entries: Sequence[Entry]) -> bool:
    """Tell whether entries in rank order can be the top of one board: no gap, and one rank has one score.

    Equal scores may share a rank or not; Phoenix's rule for ties is not published.
    """
    for place, entry in enumerate(entries, start=1):
        if place > 1 and entry.rank == entries[place - 2].rank:
            if entry.score != entries[place - 2].score:
                return False
        elif entry.rank > place or entry.rank < 1:
            return False
    return True


def _is_whole(board: Board, page: Page) -> bool:
    """Whether entries of an unclear kind are a page: it begins at the top, has no gap, is no shorter than before."""
    if board.page is None:
        return True
    least = min(len(board.page.entries), board.topic.limit)
    if page.total is not None:
        least = min(least, page.total)
    return len(page.entries) >= least and is_plausible(page.entries)


def _as_change(frame: FullPage) -> Change:
    page = frame.page
    return Change(
        window_key=page.window_key,
        entries=page.entries,
        removed=frozenset(),
        total=page.total,
        sequence=frame.sequence,
    )


def _is_older(board: Board, sequence: int | None) -> bool:
    return sequence is not None and board.sequence is not None and sequence < board.sequence


def _answers(page: Page, topic: Topic) -> bool:
    """Whether a default page holds all that the topic asks for."""
    if topic.window_key not in _UNNAMED and page.window_key != topic.window_key:
        return False
    return len(page.entries) >= topic.limit or (page.total is not None and len(page.entries) >= page.total)


def _cut(page: Page, topic: Topic) -> Page:
    if len(page.entries) <= topic.limit:
        return page
    return Page(window_key=page.window_key, entries=page.entries[: topic.limit], total=page.total)
