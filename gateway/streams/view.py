"""The first entries of a live board, as many as some watchers want: serialised once for all of them.

A change below what is shown is no update here. Leaves queues to subscriber.py, the board itself to link.py.
"""

from __future__ import annotations

from gateway.core.board import first
from gateway.core.wire import Page
from gateway.streams.link import Encode, LiveState
from gateway.streams.subscriber import Subscriber, Update


class View:
    """What is shown to all who watch the first `count` entries."""

    def __init__(self, count: int, encode: Encode) -> None:
        self.count = count
        self.watchers: set[Subscriber] = set()
        self._encode = encode
        self._newest: Update | None = None
        self._page: Page | None = None
        self._of_epoch = ""
        self._version = 0
        self._sequence = 0

    def join(self, watcher: Subscriber, state: LiveState | None) -> None:
        """Add a watcher and show him what there is."""
        if state is not None:
            self.show(state)  # nobody may have watched for a while
        self.watchers.add(watcher)
        if self._newest is not None:
            watcher.offer(self._newest)

    def leave(self, watcher: Subscriber) -> None:
        """Remove a watcher. With the last one goes what was shown, but not how far its numbers had come."""
        self.watchers.discard(watcher)
        if not self.watchers:
            self._newest = self._page = None

    def show(self, state: LiveState) -> None:
        """Offer a state to the watchers, if it differs here from the last one and is as much as they want."""
        if not state.holds(self.count):
            return
        is_new, is_later = state.epoch != self._of_epoch, state.version != self._version
        if self._newest is not None and not is_new and not is_later:
            return
        page = first(state.page, self.count)
        resync = state.resync if is_new and self._of_epoch else None
        if is_new:
            self._sequence = 1
        elif self._page is not None and _look_alike(page, self._page):
            self._version = state.version
            return
        elif is_later:
            self._sequence += 1
        self._of_epoch, self._version, self._page = state.epoch, state.version, page
        # Another number of entries is another row of updates: nobody may take one for the continuation of the other.
        epoch = f"{state.epoch}-{self.count}"
        payload = self._encode(page, epoch, self._sequence, state.received_at)
        self._newest = Update(payload=payload, epoch=epoch, sequence=self._sequence, resync=resync)
        for watcher in self.watchers:
            watcher.offer(self._newest)


def _look_alike(page: Page, before: Page) -> bool:
    """Whether watchers see no difference: a board's total is not shown."""
    return page.entries == before.entries and page.window_key == before.window_key
