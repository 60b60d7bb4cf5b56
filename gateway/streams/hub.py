"""Live boards and their watchers: the first watcher opens a connection; it closes a grace time after the last leaves.

One connection serves all watchers of a board in one window, for any number of entries. A new watcher of a live board
starts from memory. A watcher that moves to another process gets another epoch there, although workers share
connections (shared_topics.py). board_connection.py follows the board, top_entries.py serialises it, and subscriber.py
queues the updates.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.core.board import Topic
from gateway.errors import GatewayError, Overloaded, PhoenixRejectedCredentials, PhoenixUnavailable, Stopping
from gateway.streams.board_connection import BoardConnection, as_gateway_error
from gateway.streams.subscriber import QUEUE_LIMIT, Subscriber
from gateway.streams.top_entries import TopEntries
from gateway.streams.upstream import ConnectionSettings, HubDependencies, LiveState


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """Limits and times."""

    grace_s: float = 30.0
    """How long a board stays live without a watcher, so that page reloads and reconnects find it live."""
    max_boards: int = 1_000
    """Upstream connections of one process. Phoenix does not publish its limit."""
    max_watchers: int = 20_000
    """Each needs about 45 kB."""
    queue_limit: int = QUEUE_LIMIT
    lost_after_s: float = 60.0
    """A board without a connection for this long accepts no new watchers. Its present watchers continue to wait."""
    connection: ConnectionSettings = field(default_factory=ConnectionSettings)


class Hub:
    """All live boards of this process."""

    def __init__(self, dependencies: HubDependencies, settings: HubSettings | None = None) -> None:
        self._dependencies = dependencies
        self._settings = settings or HubSettings()
        self._boards: dict[Topic, _LiveBoard] = {}
        self._watchers = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._draining = False

    @property
    def boards(self) -> int:
        """The number of live boards, including those in their grace time."""
        return len(self._boards)

    @property
    def watchers(self) -> int:
        """The number of watchers."""
        return self._watchers

    @asynccontextmanager
    async def subscribe(self, topic: Topic, count: int) -> AsyncIterator[Subscriber]:
        """Watch the first `count` entries of a board. Leaving the context unsubscribes.

        Raises: Overloaded; Stopping after `drain`; PhoenixUnavailable or PhoenixRejectedCredentials if the board has
        had no connection for long.
        """
        if self._watchers >= self._settings.max_watchers:
            raise Overloaded("This gateway has too many watchers. Wait as RetryInfo says and try again.")
        board = self._boards.get(topic)
        if board is None and len(self._boards) >= self._settings.max_boards:
            raise Overloaded("This gateway has too many live boards. Wait as RetryInfo says and try again.")
        watcher = Subscriber(self._settings.queue_limit, self._left_out)
        if self._draining:
            raise _stopping()
        if board is None:
            board = self._boards[topic] = _LiveBoard(topic, self._dependencies, self._settings, self._ended)
        elif (lost := board.lost()) is not None:
            raise lost
        top = board.join(watcher, count)
        self._watchers += 1
        try:
            yield watcher
        finally:
            self._watchers -= 1
            board.leave(watcher, top)

    def live(self, topic: Topic) -> BoardConnection | None:
        """Return the connection of a live board, even if it is reconnecting."""
        board = self._boards.get(topic)
        return None if board is None else board.connection

    def drain(self) -> None:
        """End every stream with STOPPING and accept no more: clients reconnect to another gateway."""
        self._draining = True
        for board in list(self._boards.values()):
            board.end(_stopping())

    async def close(self) -> None:
        """End all streams and wait until the connections are closed."""
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
        self._dependencies.on_event("update_left_out")


class _LiveBoard:
    """One topic: its connection, and the top entries for each number of entries that is watched."""

    def __init__(
        self, topic: Topic, dependencies: HubDependencies, settings: HubSettings, on_end: Callable[[_LiveBoard], None]
    ) -> None:
        self.topic = topic
        self._dependencies = dependencies
        self._settings = settings
        self._on_end = on_end
        self._tops: dict[int, TopEntries] = {}
        self._watchers = 0
        self._leaving: asyncio.TimerHandle | None = None
        self._is_over = False
        self.connection = BoardConnection(topic, dependencies, settings.connection, self._needed, self._publish)
        self.task = asyncio.get_running_loop().create_task(self.connection.run(), name="live-board")
        self.task.add_done_callback(self._connection_ended)

    def lost(self) -> GatewayError | None:
        """Return the error for new watchers if there has been no connection for too long."""
        lost_at = self.connection.lost_at
        if lost_at is None or self._dependencies.clock.monotonic() - lost_at < self._settings.lost_after_s:
            return None
        failure = self.connection.last_failure
        return failure if isinstance(failure, PhoenixRejectedCredentials) else PhoenixUnavailable()

    def join(self, watcher: Subscriber, count: int) -> TopEntries:
        """Add a watcher of the first `count` entries. It gets the present state at once."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        top = self._tops.get(count)
        if top is None:
            top = self._tops[count] = TopEntries(count, self._dependencies.encode)
        self._watchers += 1
        self.connection.require(count)
        top.join(watcher, self.connection.state)
        return top

    def leave(self, watcher: Subscriber, top: TopEntries) -> None:
        """Remove a watcher. After the last one, the grace time begins."""
        top.leave(watcher)
        self._watchers -= 1
        if not self._watchers and not self._is_over and self._leaving is None:
            self._leaving = asyncio.get_running_loop().call_later(self._settings.grace_s, self._close)

    def end(self, error: Exception) -> None:
        """End the watchers and the connection."""
        if not self._is_over:
            for top in self._tops.values():
                for watcher in top.watchers:
                    watcher.end(error)
        self._close()

    def _close(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._leaving is not None:
            self._leaving.cancel()
        self.task.cancel()
        self._on_end(self)

    def _needed(self) -> int:
        return max((top.count for top in self._tops.values() if top.watchers), default=0)

    def _publish(self, state: LiveState) -> None:
        for top in self._tops.values():
            if top.watchers:
                top.show(state)

    def _connection_ended(self, task: asyncio.Task[None]) -> None:
        """End the board when its connection task ends for any reason; its watchers subscribe again."""
        failure = None if task.cancelled() else task.exception()
        self.end(as_gateway_error(failure or RuntimeError("the connection task of a live board ended")))


def _stopping() -> Stopping:
    return Stopping("This gateway is stopping. Open the stream again: it begins with the whole board.")
