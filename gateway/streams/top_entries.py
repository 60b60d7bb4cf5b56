"""The first entries of a live board for all watchers of the same number of entries, serialised once.

A change below these entries is not an update for them. subscriber.py queues the updates; board_connection.py follows
the board.
"""

from __future__ import annotations

from gateway.core.board import first
from gateway.core.wire import Page
from gateway.streams.subscriber import Subscriber, Update
from gateway.streams.upstream import Encode, LiveState


class TopEntries:
    """The first `count` entries of a board, and their watchers."""

    def __init__(self, count: int, encode: Encode) -> None:
        self.count = count
        self.watchers: set[Subscriber] = set()
        self._encode = encode
        self._newest: Update | None = None
        self._page: Page | None = None
        self._epoch = ""
        self._version = 0
        self._sequence = 0

    def join(self, watcher: Subscriber, state: LiveState | None) -> None:
        """Add a watcher and send it the present state."""
        if state is not None:
            self.show(state)  # there may have been no watcher for a while
        self.watchers.add(watcher)
        if self._newest is not None:
            watcher.offer(self._newest)

    def leave(self, watcher: Subscriber) -> None:
        """Remove a watcher. After the last one, forget the entries but keep the sequence number."""
        self.watchers.discard(watcher)
        if not self.watchers:
            self._newest = self._page = None

    def show(self, state: LiveState) -> None:
        """Offer a state to the watchers if it has enough entries and differs from the last one."""
        if not state.holds(self.count):
            return
        is_new, is_later = state.epoch != self._epoch, state.version != self._version
        if self._newest is not None and not is_new and not is_later:
            return
        page = first(state.page, self.count)
        resync = state.resync if is_new and self._epoch else None
        if is_new:
            self._sequence = 1
        elif self._page is not None and _is_same(page, self._page):
            self._version = state.version
            return
        elif is_later:
            self._sequence += 1
        self._epoch, self._version, self._page = state.epoch, state.version, page
        # Each number of entries has its own sequence of updates; a client must not mistake one for another.
        epoch = f"{state.epoch}-{self.count}"
        payload = self._encode(page, epoch, self._sequence, state.received_at)
        self._newest = Update(payload=payload, epoch=epoch, sequence=self._sequence, resync=resync)
        for watcher in self.watchers:
            watcher.offer(self._newest)


def _is_same(page: Page, before: Page) -> bool:
    """Tell whether watchers see no difference. Updates do not include the board's total."""
    return page.entries == before.entries and page.window_key == before.window_key
