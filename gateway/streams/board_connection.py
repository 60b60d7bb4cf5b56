"""The upstream connection of one board: open it, follow it, open it again when it breaks.

Every connection is an epoch of its own. core/board.py has the rules of a board, freshness.py tracks the board's age,
and `publish` passes every change to hub.py. Source: gamification.md 3.2 to 3.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from gateway.core import board as boards
from gateway.core.board import DEFAULT_PAGE_SIZE, ApplyResult, Board, Frame, FullPage, Topic
from gateway.core.wire import Page
from gateway.core.wire_socket import encode_configure, encode_request_page
from gateway.errors import (
    CircuitOpen,
    GatewayError,
    PhoenixAnswerUnreadable,
    PhoenixRateLimited,
    PhoenixRejectedCredentials,
    PhoenixTimeout,
    PhoenixUnavailable,
)
from gateway.resilience.retry import wait_s
from gateway.resilience.supervision import run_job
from gateway.streams.freshness import Freshness
from gateway.streams.subscriber import Resync
from gateway.streams.upstream import Channel, ChannelClosed, ConnectionSettings, HubDependencies, LiveState

_TEMPORARY = (PhoenixUnavailable, PhoenixTimeout, PhoenixRateLimited, PhoenixAnswerUnreadable, CircuitOpen)
"""Failures that may be temporary. Any other error is a refusal; several refusals in a row end the board."""
_REQUEST_OVERDUE_S = 2.0
_UNREADABLE_IN_A_ROW = 20


class BoardConnection:
    """The connection of one topic. The hub runs `run` as a task and cancels it."""

    def __init__(
        self,
        topic: Topic,
        dependencies: HubDependencies,
        settings: ConnectionSettings,
        needed: Callable[[], int],
        publish: Callable[[LiveState], None],
    ) -> None:
        """Prepare the connection; `run` opens it. `needed`: returns how many entries the watchers need."""
        self._topic = topic
        self._dependencies = dependencies
        self._settings = settings
        self._needed = needed
        self._publish = publish
        self._size = DEFAULT_PAGE_SIZE
        self._whole_up_to = DEFAULT_PAGE_SIZE
        self._whole_timer: asyncio.TimerHandle | None = None
        self._reason: Resync | None = None
        self._failures = 0
        self._refusals = 0
        self._channel: Channel | None = None
        self._board = Board(topic=topic)
        self._epoch = ""
        self._version = 0
        self._requested_at: float | None = None
        self._request_again = False
        self._requests: set[asyncio.Task[None]] = set()
        self._first_board_timeout: asyncio.Timeout | None = None
        self.state: LiveState | None = None
        self.last_failure: GatewayError | None = None
        self.lost_at: float | None = None
        self.freshness = Freshness(dependencies.clock)

    async def run(self) -> None:
        """Follow the board until cancelled. Raises: GatewayError if more attempts would be useless."""
        try:
            async with asyncio.timeout(self._settings.first_board_within_s) as self._first_board_timeout:
                await self._connections()
        except TimeoutError:
            raise self.last_failure or PhoenixUnavailable("Phoenix sent no live board in time. Try again.") from None
        finally:
            if self._whole_timer is not None:
                self._whole_timer.cancel()
            for task in self._requests:
                task.cancel()

    def require(self, count: int) -> None:
        """Make the board show at least `count` entries, if it has them."""
        if count <= self._size:
            return
        self._size = count
        channel = self._channel
        if channel is not None:
            self._expect_more(channel)
            self._spawn(self._configure(channel))

    def request_page(self) -> None:
        """Request a page to learn the board's present state, unless a request is pending. Updates `freshness`."""
        channel = self._channel
        if (
            channel is not None
            and not self.freshness.is_requested
            and (self._requested_at is None or self._is_overdue())
        ):
            self._mark_requested()
            self._spawn(channel.send(encode_request_page(self._size)))

    async def _connections(self) -> None:
        while True:
            try:
                if await self._connection():
                    continue
            except _TEMPORARY as failure:
                self._dependencies.on_event("open_failed")
                self.last_failure = failure
                self._failures += 1
            except GatewayError as refusal:
                self.last_failure = refusal
                if self._is_final(refusal):
                    raise
                if self._refusals == 1 and isinstance(refusal, PhoenixRejectedCredentials):
                    continue  # a clock or secret may just have been corrected: retry once without waiting
                self._failures += 1
            wait = wait_s(max(1, self._failures), self._settings.retry, self._dependencies.random)
            await asyncio.sleep(wait)

    def _is_final(self, refusal: GatewayError) -> bool:
        """Tell whether a refusal ends the board. Thousands may watch it, and a restarting server refuses at first."""
        self._refusals += 1
        if isinstance(refusal, PhoenixRejectedCredentials):
            self._dependencies.on_event("credentials_rejected")
            return self._refusals >= (2 if self.state is None else self._settings.rejections)
        self._dependencies.on_event("refused")
        return self.state is None or self._refusals >= self._settings.refusals

    async def _connection(self) -> bool:
        """Follow the board over one connection. Returns whether another one shall replace it without a wait."""
        opened_at = self._dependencies.clock.monotonic()
        channel = await self._dependencies.open_topic(self._topic)
        self._dependencies.on_event("opened")
        self._refusals = 0
        self._requested_at, self._request_again = None, False
        self._size = max(DEFAULT_PAGE_SIZE, self._needed())
        self._board = Board(topic=self._topic, size=self._size)
        self._epoch, self._version = self._dependencies.new_epoch(), 0
        self._whole_up_to = DEFAULT_PAGE_SIZE
        self.freshness.opened(opened_at)
        try:
            self._channel = channel
            if self._size > DEFAULT_PAGE_SIZE:
                self._expect_more(channel)
            # Sent on every connection: the configuration ends with the previous connection.
            await channel.send(encode_configure(self._topic, self._size))
            if self._topic.window_key or self._size > DEFAULT_PAGE_SIZE:
                await self._request_page(channel)
            await self._follow(channel)
        except ChannelClosed as closed:
            self._reason = Resync.SILENT if closed.silent else Resync.CUT
            if closed.outdated:
                self._dependencies.on_event("replaced")
                return True
            self._failures += 1
            self._dependencies.on_event(self._reason.value)
        finally:
            self._channel = None
            self.lost_at = self._dependencies.clock.monotonic()
            self.freshness.closed()
            if self._dependencies.clock.monotonic() - opened_at >= self._settings.steady_after_s:
                self._failures = 0
            await channel.close()
        return False

    async def _follow(self, channel: Channel) -> None:
        unreadable = 0
        while True:
            try:
                frame = await channel.receive()
            except PhoenixAnswerUnreadable:
                self._dependencies.on_event("unreadable_frame")
                unreadable += 1
                if unreadable >= _UNREADABLE_IN_A_ROW:
                    self._failures += 1
                    self._reason = Resync.UNREADABLE
                    self._dependencies.on_event(self._reason.value)
                    return
                self.freshness.mark_uncertain()  # it may have been an update
                await self._request_page(channel)
                continue
            unreadable = 0
            if isinstance(frame, boards.Ignored):
                self._dependencies.on_event("ignored_frame")
            applied = boards.apply(self._board, frame)
            self._board = applied.board
            self._track(frame, applied)
            if self._board.page is not None and (applied.changed or (self._version == 0 and applied.is_page)):
                self._publish_state(self._board.page)
            if applied.needs_page or (applied.is_page and self._request_again) or self._is_overdue():
                await self._request_page(channel)

    def _track(self, frame: Frame, applied: ApplyResult) -> None:
        """Update pending requests and freshness from a frame."""
        if applied.needs_page:
            self.freshness.mark_uncertain()
        if applied.is_page and not (isinstance(frame, FullPage) and not frame.answers):
            self._requested_at = None
        if isinstance(frame, FullPage):
            self.freshness.answered(
                is_board=applied.is_page,
                is_certain=frame.certain and frame.answers,
                is_whole=not (applied.needs_page or self._request_again),
            )

    def _publish_state(self, page: Page) -> None:
        self._version += 1
        if self._first_board_timeout is not None:
            self._first_board_timeout.reschedule(None)
        self.lost_at = None
        before = self.state
        # The very first board is not a resync.
        is_new = before is not None and before.epoch != self._epoch
        resync = (self._reason or Resync.CUT) if is_new else None if before is None else before.resync
        self.state = LiveState(
            page=page,
            epoch=self._epoch,
            version=self._version,
            asked_for=self._board.size,
            whole_up_to=self._whole_up_to,
            received_at=self._dependencies.clock.now(),
            resync=resync,
        )
        self._publish(self.state)

    def _expect_more(self, channel: Channel) -> None:
        """Expect larger pages. After a while, accept the size that Phoenix sends as all that it shows."""

        def settle() -> None:
            if self._channel is channel:
                self._whole_up_to = self._size
                if self.state is not None and self.state.epoch == self._epoch:
                    self.state = replace(self.state, asked_for=self._size, whole_up_to=self._size)
                    self._publish(self.state)

        self._board = replace(self._board, size=self._size)
        if self._whole_timer is not None:
            self._whole_timer.cancel()
        self._whole_timer = asyncio.get_running_loop().call_later(self._settings.whole_after_s, settle)

    async def _configure(self, channel: Channel) -> None:
        await channel.send(encode_configure(self._topic, self._size))
        self._requested_at = None  # the pending request was for another size
        await self._request_page(channel)

    async def _request_page(self, channel: Channel) -> None:
        """Request a page, one at a time. A request while one is pending is sent after the pending answer."""
        if self._requested_at is not None and not self._is_overdue():
            self._request_again = True
            return
        self._mark_requested()
        await channel.send(encode_request_page(self._size))

    def _mark_requested(self) -> None:
        self._requested_at, self._request_again = self._dependencies.clock.monotonic(), False
        self.freshness.requested()
        self._dependencies.on_event("page_requested")

    def _is_overdue(self) -> bool:
        return (
            self._requested_at is not None
            and self._dependencies.clock.monotonic() - self._requested_at > _REQUEST_OVERDUE_S
        )

    def _spawn(self, work: Awaitable[None]) -> None:
        async def quietly() -> None:
            try:
                await work
            except ChannelClosed:
                return  # the receiver notices it too, and reconnects

        task = run_job("live-board-request", quietly())
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)


def as_gateway_error(error: BaseException) -> Exception:
    """Return the error that watchers get when the connection task ends."""
    if isinstance(error, GatewayError):
        return error
    broken = RuntimeError("the connection task of a live board failed")
    broken.__cause__ = error
    return broken
