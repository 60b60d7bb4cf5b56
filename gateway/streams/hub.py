"""Live boards and who watches them: the first watcher opens a link, the last one closes it after a grace time.

One link serves all who watch a board in one window, however many entries they want. A new watcher of a live board
starts from memory. One process's boards are its own: a watcher that comes to another process gets another epoch there.
Connections are link.py's business, what is cut from a board view.py's, queues subscriber.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.core.board import Topic
from gateway.errors import GatewayError, Overloaded, PhoenixRejectedCredentials, PhoenixUnavailable
from gateway.streams.link import HubDependencies, Link, LinkSettings, LiveState, as_gateway_error
from gateway.streams.subscriber import QUEUE_LIMIT, Subscriber
from gateway.streams.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """Bounds and patience."""

    grace_s: float = 30.0
    """How long a board stays live without a watcher: page reloads and reconnects find it warm."""
    max_boards: int = 1_000
    """Upstream connections of one process; Phoenix's cap is not published."""
    max_watchers: int = 20_000
    """About 45 kB each."""
    queue_limit: int = QUEUE_LIMIT
    lost_after_s: float = 60.0
    """A board that has had no connection for so long is shown to nobody new. Who watches it goes on waiting."""
    link: LinkSettings = field(default_factory=LinkSettings)


class Hub:
    """All live boards of this process."""

    def __init__(self, world: HubDependencies, settings: HubSettings | None = None) -> None:
        self._world = world
        self._settings = settings or HubSettings()
        self._boards: dict[Topic, _LiveBoard] = {}
        self._watchers = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._draining = False

    @property
    def boards(self) -> int:
        """How many boards are live, those in their grace time included."""
        return len(self._boards)

    @property
    def watchers(self) -> int:
        """How many watch."""
        return self._watchers

    @asynccontextmanager
    async def subscribe(self, topic: Topic, count: int) -> AsyncIterator[Subscriber]:
        """Watch the first `count` entries of a board; leaving the context always unsubscribes.

        Raises: Overloaded; PhoenixUnavailable, PhoenixRejectedCredentials when the board has been out of reach for
        long.
        """
        if self._watchers >= self._settings.max_watchers:
            raise Overloaded("Too many watchers on this gateway. Wait as RetryInfo says and try again.")
        board = self._boards.get(topic)
        if board is None and len(self._boards) >= self._settings.max_boards:
            raise Overloaded("Too many live boards on this gateway. Wait as RetryInfo says and try again.")
        watcher = Subscriber(self._settings.queue_limit, self._left_out)
        if self._draining:
            watcher.end(None)
            yield watcher
            return
        if board is None:
            board = self._boards[topic] = _LiveBoard(topic, self._world, self._settings, self._ended)
        elif (lost := board.lost()) is not None:
            raise lost
        view = board.join(watcher, count)
        self._watchers += 1
        try:
            yield watcher
        finally:
            self._watchers -= 1
            board.leave(watcher, view)

    def live(self, topic: Topic) -> Link | None:
        """Return the link of a board that is live, whether connected at the moment or not."""
        board = self._boards.get(topic)
        return None if board is None else board.link

    def drain(self) -> None:
        """End every watcher in peace and take no more: they come back elsewhere."""
        self._draining = True
        for board in list(self._boards.values()):
            board.end(None)

    async def close(self) -> None:
        """End everything and wait for the connections to close."""
        self.drain()
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    def _ended(self, board: _LiveBoard) -> None:
        if self._boards.get(board.topic) is board:
            del self._boards[board.topic]
        task = board.task
        if not task.done():
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _left_out(self, count: int) -> None:
        self._world.on_event("update_left_out")


class _LiveBoard:
    """One topic: its link, and a view for each number of entries that somebody watches."""

    def __init__(
        self, topic: Topic, world: HubDependencies, settings: HubSettings, on_end: Callable[[_LiveBoard], None]
    ) -> None:
        self.topic = topic
        self._world = world
        self._settings = settings
        self._on_end = on_end
        self._views: dict[int, View] = {}
        self._watchers = 0
        self._leaving: asyncio.TimerHandle | None = None
        self._is_over = False
        self.link = Link(topic, world, settings.link, self._needed, self._publish)
        self.task = asyncio.get_running_loop().create_task(self.link.run())
        self.task.add_done_callback(self._link_ended)

    def lost(self) -> GatewayError | None:
        """Return why nobody new is let in: there has been no connection for too long."""
        lost_at = self.link.lost_at
        if lost_at is None or self._world.clock.monotonic() - lost_at < self._settings.lost_after_s:
            return None
        failure = self.link.last_failure
        return failure if isinstance(failure, PhoenixRejectedCredentials) else PhoenixUnavailable()

    def join(self, watcher: Subscriber, count: int) -> View:
        """Add a watcher of the first `count` entries; what is live is his at once."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        view = self._views.get(count)
        if view is None:
            view = self._views[count] = View(count, self._world.encode)
        self._watchers += 1
        self.link.want(count)
        view.join(watcher, self.link.state)
        return view

    def leave(self, watcher: Subscriber, view: View) -> None:
        """Remove a watcher; after the last one the board has its grace time."""
        view.leave(watcher)
        self._watchers -= 1
        if not self._watchers and not self._is_over and self._leaving is None:
            self._leaving = asyncio.get_running_loop().call_later(self._settings.grace_s, self.end, None)

    def end(self, error: Exception | None) -> None:
        """End the watchers and the link."""
        if self._is_over:
            return
        self._is_over = True
        if self._leaving is not None:
            self._leaving.cancel()
        for view in self._views.values():
            for watcher in view.watchers:
                watcher.end(error)
        self.task.cancel()
        self._on_end(self)

    def _needed(self) -> int:
        return max((view.count for view in self._views.values() if view.watchers), default=0)

    def _publish(self, state: LiveState) -> None:
        for view in self._views.values():
            if view.watchers:
                view.show(state)

    def _link_ended(self, task: asyncio.Task[None]) -> None:
        """A board without its link shows nothing more, however the link ended: its watchers come again."""
        if not task.cancelled():
            self.end(as_gateway_error(task.exception() or RuntimeError("the link of a live board returned")))
