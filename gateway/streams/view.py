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

    def join(self, watcher: Subscriber, state: LiveState | None) -> None:
        """Add a watcher and show him what there is."""
        if state is not None:
            self.show(state)  # nobody may have watched for a while
        self.watchers.add(watcher)
        if self._newest is not None:
            watcher.offer(self._newest)

    def show(self, state: LiveState) -> None:
        """Offer a state to the watchers, if it differs here from the last one and is as much as they want."""
        if not state.holds(self.count):
            return
        is_new = state.epoch != self._of_epoch
        if not is_new and state.version == self._version:
            return
        page, before = first(state.page, self.count), self._page
        self._version = state.version
        if not is_new and before is not None and _look_alike(page, before):
            return
        sequence = 1 if is_new or self._newest is None else self._newest.sequence + 1
        # Another number of entries is another row of updates: nobody may take one for the continuation of the other.
        epoch = f"{state.epoch}-{self.count}"
        update = Update(
            payload=self._encode(page, epoch, sequence, state.received_at),
            epoch=epoch,
            sequence=sequence,
            resync=state.resync if is_new and before is not None else None,
        )
        self._newest, self._page, self._of_epoch = update, page, state.epoch
        for watcher in self.watchers:
            watcher.offer(update)


def _look_alike(page: Page, before: Page) -> bool:
    """Whether watchers see no difference: a board's total is not shown."""
    return page.entries == before.entries and page.window_key == before.window_key
