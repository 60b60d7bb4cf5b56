"""One board's upstream connection: open it, follow it, open it again when it breaks.

Every connection is an epoch of its own. Leaves the WebSocket to `open_topic`, the rules of a board to core/board.py and
the watchers to hub.py, which hears of every update by `publish`. Source: gamification.md 3.2 to 3.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.core import board as boards
from gateway.core.board import Board, Topic
from gateway.core.wire import Page
from gateway.core.wire_socket import decode_frame, encode_configure, encode_request_page
from gateway.errors import (
    CircuitOpen,
    GatewayError,
    PhoenixAnswerUnreadable,
    PhoenixRateLimited,
    PhoenixTimeout,
    PhoenixUnavailable,
)
from gateway.resilience.clock import Clock
from gateway.resilience.retry import RetrySettings, wait_s
from gateway.streams.subscriber import Resync, Update

_PASSING = (PhoenixUnavailable, PhoenixTimeout, PhoenixRateLimited, PhoenixAnswerUnreadable, CircuitOpen)
"""What may be over at the next try; anything else ends the board with its watchers."""
_ASK_AGAIN_S = 2.0
_UNREADABLE_IN_A_ROW = 20


class ChannelClosed(Exception):
    """The connection is gone. `silent`: nothing had come for too long."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        super().__init__("silent" if silent else "closed")


class Channel(Protocol):
    """An open connection; pings and pongs are its own business."""

    async def receive(self) -> bytes:
        """Return the next message. Raises: ChannelClosed."""
        ...

    async def send(self, message: str) -> None:
        """Send one message. Raises: ChannelClosed."""
        ...

    async def close(self) -> None:
        """Close; more than once does no harm."""
        ...


OpenTopic = Callable[[Topic], Awaitable[Channel]]
"""Opens a signed connection, with a new timestamp each time. Raises: GatewayError."""
Encode = Callable[[Page, str, int, float], bytes]
"""Page, epoch, sequence and the wall time it was received at, serialised for the watchers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """How patient a link is."""

    retry: RetrySettings = field(default_factory=lambda: RetrySettings(first_wait_s=0.5, longest_wait_s=30.0))
    """Waits between connections: short at first, since most cuts are a server's restart."""
    steady_after_s: float = 10.0
    """A connection that lived so long did not fail: the next wait is a first one again."""
    first_board_within_s: float = 15.0
    """How long watchers wait for a first board; after that they learn that Phoenix cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a link works with."""

    open_topic: OpenTopic
    encode: Encode
    clock: Clock
    new_epoch: Callable[[], str]
    chance: Callable[[], float]
    on_event: Callable[[str], None] = lambda name: None


class Link:
    """The connection of one topic; `run` is a task that the hub ends."""

    def __init__(
        self, topic: Topic, world: Surroundings, settings: LinkSettings, publish: Callable[[Update], None]
    ) -> None:
        self._topic = topic
        self._world = world
        self._settings = settings
        self._publish = publish
        self._reason: Resync | None = None
        self._has_board = False
        self._failures = 0
        self._asked_at: float | None = None
        self._ask_again = False
        self._last_failure: GatewayError | None = None
        self._patience: asyncio.Timeout | None = None

    async def run(self) -> None:
        """Follow the board until cancelled. Raises: GatewayError when there is no use in trying on."""
        try:
            async with asyncio.timeout(self._settings.first_board_within_s) as self._patience:
                await self._connections()
        except TimeoutError:
            raise self._last_failure or PhoenixUnavailable("Phoenix sent no live board in time.") from None

    async def _connections(self) -> None:
        while True:
            try:
                await self._connection()
            except _PASSING as failure:
                self._world.on_event("open_failed")
                self._last_failure = failure
                self._failures += 1
            wait = wait_s(max(1, self._failures), self._settings.retry, self._world.chance)
            await asyncio.sleep(wait)

    async def _connection(self) -> None:
        channel = await self._world.open_topic(self._topic)
        self._world.on_event("opened")
        opened_at = self._world.clock.monotonic()
        try:
            # Told on every connection: what was configured dies with the one before.
            await channel.send(encode_configure(self._topic))
            self._asked_at, self._ask_again = None, False
            if not self._topic.is_default:
                await self._ask(channel)
            await self._follow(channel)
        except ChannelClosed as closed:
            self._failures += 1
            self._reason = Resync.SILENT if closed.silent else Resync.CUT
            self._world.on_event(self._reason.value)
        finally:
            if self._world.clock.monotonic() - opened_at >= self._settings.steady_after_s:
                self._failures = 0
            await channel.close()

    async def _follow(self, channel: Channel) -> None:
        board = Board(topic=self._topic)
        epoch, sequence, unreadable = self._world.new_epoch(), 0, 0
        while True:
            message = await channel.receive()
            try:
                frame = decode_frame(message)
            except PhoenixAnswerUnreadable:
                self._world.on_event("unreadable_frame")
                unreadable += 1
                if unreadable >= _UNREADABLE_IN_A_ROW:
                    self._failures += 1
                    self._reason = Resync.UNREADABLE
                    return
                await self._ask(channel)  # it may have been an update
                continue
            unreadable = 0
            if isinstance(frame, boards.Ignored):
                self._world.on_event("ignored_frame")
            applied = boards.apply(board, frame)
            board = applied.board
            if applied.is_page:
                self._asked_at = None
            if applied.needs_page or (applied.is_page and self._ask_again) or self._is_overdue():
                await self._ask(channel)
            if board.page is not None and (applied.changed or (sequence == 0 and applied.is_page)):
                sequence += 1
                self._tell(board.page, epoch, sequence)

    def _tell(self, page: Page, epoch: str, sequence: int) -> None:
        payload = self._world.encode(page, epoch, sequence, self._world.clock.now())
        resync = (self._reason or Resync.CUT) if sequence == 1 and self._has_board else None
        if not self._has_board and self._patience is not None:
            self._patience.reschedule(None)
        self._has_board = True
        self._publish(Update(payload=payload, epoch=epoch, sequence=sequence, resync=resync))

    async def _ask(self, channel: Channel) -> None:
        """Ask for a page, one at a time; what comes up meanwhile asks once more when that one has come."""
        if self._asked_at is not None and not self._is_overdue():
            self._ask_again = True
            return
        self._asked_at, self._ask_again = self._world.clock.monotonic(), False
        self._world.on_event("page_requested")
        await channel.send(encode_request_page(self._topic))

    def _is_overdue(self) -> bool:
        return self._asked_at is not None and self._world.clock.monotonic() - self._asked_at > _ASK_AGAIN_S


def as_gateway_error(error: BaseException) -> Exception:
    """Return what watchers are told of the end of a link."""
    if isinstance(error, GatewayError):
        return error
    broken = RuntimeError("a live board's link broke")
    broken.__cause__ = error
    return broken
