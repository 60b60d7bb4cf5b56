"""One board's upstream connection: open it, follow it, open it again when it breaks.

Every connection is an epoch of its own. Leaves the WebSocket to `open_topic`, the rules of a board to core/board.py and
how old what is known is to proof.py; hub.py hears of every change by `publish`. Source: gamification.md 3.2 to 3.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from gateway.core import board as boards
from gateway.core.board import DEFAULT_PAGE_SIZE, ApplyResult, Board, Frame, FullPage, Topic
from gateway.core.wire import Page
from gateway.core.wire_socket import decode_frame, encode_configure, encode_request_page
from gateway.errors import (
    CircuitOpen,
    GatewayError,
    PhoenixAnswerUnreadable,
    PhoenixRateLimited,
    PhoenixRejectedCredentials,
    PhoenixTimeout,
    PhoenixUnavailable,
)
from gateway.resilience.clock import Clock
from gateway.resilience.retry import RetrySettings, wait_s
from gateway.resilience.supervision import run_job
from gateway.streams.proof import Proof
from gateway.streams.subscriber import Resync

_PASSING = (PhoenixUnavailable, PhoenixTimeout, PhoenixRateLimited, PhoenixAnswerUnreadable, CircuitOpen)
"""What may be over at the next try. Anything else is a refusal: said often enough in a row, it ends the board."""
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
    rejections: int = 20
    """Rejected credentials in a row that end a board which had been live: some minutes. A clock or a secret that is put
    right meanwhile costs the watchers nothing but a resync."""
    refusals: int = 3
    """The same for any other refusal: gone, not active, forbidden."""
    whole_after_s: float = 3.0
    """Phoenix shows as much as it ever will so long after it was asked for more, though it may be less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDependencies:
    """What a link works with."""

    open_topic: OpenTopic
    encode: Encode
    clock: Clock
    new_epoch: Callable[[], str]
    chance: Callable[[], float]
    on_event: Callable[[str], None] = lambda name: None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """A board as one connection shows it.

    `version` counts its changes. `asked_for`: its size as Phoenix was asked for it; `whole_up_to`: of so many entries
    it is known that Phoenix shows no more. `received_at`: Unix seconds. `resync`: why the epoch began, None for the
    first. `kept`: what readers have made of it, by offset and size; it goes with the state.
    """

    page: Page
    epoch: str
    version: int
    asked_for: int
    whole_up_to: int
    received_at: float
    resync: Resync | None
    kept: dict[tuple[int, int], bytes] = field(default_factory=dict, repr=False, compare=False)

    def holds(self, count: int) -> bool:
        """Whether these are the first `count` entries, or as many as there are to be had."""
        return count <= self.whole_up_to or boards.holds_all(self.page, count, self.asked_for)


class Link:
    """The connection of one topic; `run` is a task that the hub ends."""

    def __init__(
        self,
        topic: Topic,
        world: HubDependencies,
        settings: LinkSettings,
        needed: Callable[[], int],
        publish: Callable[[LiveState], None],
    ) -> None:
        """Follow the topic once `run`. `needed`: how many entries somebody wants to see, asked for each connection."""
        self._topic = topic
        self._world = world
        self._settings = settings
        self._needed = needed
        self._publish = publish
        self._size = DEFAULT_PAGE_SIZE
        self._whole_up_to = DEFAULT_PAGE_SIZE
        self._grown: asyncio.TimerHandle | None = None
        self._reason: Resync | None = None
        self._failures = 0
        self._refusals = 0
        self._channel: Channel | None = None
        self._board = Board(topic=topic)
        self._epoch = ""
        self._version = 0
        self._asked_at: float | None = None
        self._ask_again = False
        self._asking: set[asyncio.Task[None]] = set()
        self._patience: asyncio.Timeout | None = None
        self.state: LiveState | None = None
        self.last_failure: GatewayError | None = None
        self.lost_at: float | None = None
        self.proof = Proof(world.clock)

    async def run(self) -> None:
        """Follow the board until cancelled. Raises: GatewayError when there is no use in trying on."""
        try:
            async with asyncio.timeout(self._settings.first_board_within_s) as self._patience:
                await self._connections()
        except TimeoutError:
            raise self.last_failure or PhoenixUnavailable("Phoenix sent no live board in time.") from None
        finally:
            if self._grown is not None:
                self._grown.cancel()
            for task in self._asking:
                task.cancel()

    def want(self, count: int) -> None:
        """See to it that the board shows at least so many entries, where it has them."""
        if count <= self._size:
            return
        self._size = count
        channel = self._channel
        if channel is not None:
            self._asking_for_more(channel)
            self._behind(self._configure(channel))

    def prove(self) -> None:
        """Ask how the board stands now, unless that is being asked already; the proof hears of the answer."""
        channel = self._channel
        if channel is not None and not self.proof.is_asked and (self._asked_at is None or self._is_overdue()):
            self._note_asked()
            self._behind(channel.send(encode_request_page(self._size)))

    async def _connections(self) -> None:
        while True:
            try:
                await self._connection()
            except _PASSING as failure:
                self._world.on_event("open_failed")
                self.last_failure = failure
                self._failures += 1
            except GatewayError as refusal:
                self.last_failure = refusal
                if self._is_final(refusal):
                    raise
                if self._refusals == 1 and isinstance(refusal, PhoenixRejectedCredentials):
                    continue  # a clock or a secret may just have been corrected: once, at once
                self._failures += 1
            wait = wait_s(max(1, self._failures), self._settings.retry, self._world.chance)
            await asyncio.sleep(wait)

    def _is_final(self, refusal: GatewayError) -> bool:
        """Whether to believe a refusal. Thousands may watch, and a restarting server refuses what it will serve."""
        self._refusals += 1
        if isinstance(refusal, PhoenixRejectedCredentials):
            self._world.on_event("credentials_rejected")
            return self._refusals >= (2 if self.state is None else self._settings.rejections)
        self._world.on_event("refused")
        return self.state is None or self._refusals >= self._settings.refusals

    async def _connection(self) -> None:
        opened_at = self._world.clock.monotonic()
        channel = await self._world.open_topic(self._topic)
        self._world.on_event("opened")
        self._refusals = 0
        self._asked_at, self._ask_again = None, False
        self._size = max(DEFAULT_PAGE_SIZE, self._needed())
        self._board = Board(topic=self._topic, size=self._size)
        self._epoch, self._version = self._world.new_epoch(), 0
        self._whole_up_to = DEFAULT_PAGE_SIZE
        self.proof.opened(opened_at)
        try:
            self._channel = channel
            if self._size > DEFAULT_PAGE_SIZE:
                self._asking_for_more(channel)
            # Told on every connection: what was configured dies with the one before.
            await channel.send(encode_configure(self._topic, self._size))
            if self._topic.window_key or self._size > DEFAULT_PAGE_SIZE:
                await self._ask(channel)
            await self._follow(channel)
        except ChannelClosed as closed:
            self._failures += 1
            self._reason = Resync.SILENT if closed.silent else Resync.CUT
            self._world.on_event(self._reason.value)
        finally:
            self._channel = None
            self.lost_at = self._world.clock.monotonic()
            self.proof.closed()
            if self._world.clock.monotonic() - opened_at >= self._settings.steady_after_s:
                self._failures = 0
            await channel.close()

    async def _follow(self, channel: Channel) -> None:
        unreadable = 0
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
                    self._world.on_event(self._reason.value)
                    return
                self.proof.doubted()  # it may have been an update
                await self._ask(channel)
                continue
            unreadable = 0
            if isinstance(frame, boards.Ignored):
                self._world.on_event("ignored_frame")
            applied = boards.apply(self._board, frame)
            self._board = applied.board
            self._note(frame, applied)
            if self._board.page is not None and (applied.changed or (self._version == 0 and applied.is_page)):
                self._tell(self._board.page)
            if applied.needs_page or (applied.is_page and self._ask_again) or self._is_overdue():
                await self._ask(channel)

    def _note(self, frame: Frame, applied: ApplyResult) -> None:
        """Keep what a frame says about asking and about what is known for certain."""
        if applied.needs_page:
            self.proof.doubted()
        if applied.is_page:
            self._asked_at = None
        if isinstance(frame, FullPage):
            self.proof.answered(
                is_board=applied.is_page, is_certain=frame.certain, is_whole=not (applied.needs_page or self._ask_again)
            )

    def _tell(self, page: Page) -> None:
        self._version += 1
        if self._patience is not None:
            self._patience.reschedule(None)
        self.lost_at = None
        before = self.state
        # The first board of all begins no epoch anew.
        is_new = before is not None and before.epoch != self._epoch
        resync = (self._reason or Resync.CUT) if is_new else None if before is None else before.resync
        self.state = LiveState(
            page=page,
            epoch=self._epoch,
            version=self._version,
            asked_for=self._board.size,
            whole_up_to=self._whole_up_to,
            received_at=self._world.clock.now(),
            resync=resync,
        )
        self._publish(self.state)

    def _asking_for_more(self, channel: Channel) -> None:
        """From now on pages are larger, or as large as Phoenix makes them: after a while that is known."""

        def settle() -> None:
            if self._channel is channel:
                self._whole_up_to = self._size
                if self.state is not None and self.state.epoch == self._epoch:
                    self.state = replace(self.state, asked_for=self._size, whole_up_to=self._size)
                    self._publish(self.state)

        self._board = replace(self._board, size=self._size)
        if self._grown is not None:
            self._grown.cancel()
        self._grown = asyncio.get_running_loop().call_later(self._settings.whole_after_s, settle)

    async def _configure(self, channel: Channel) -> None:
        await channel.send(encode_configure(self._topic, self._size))
        self._asked_at = None  # what was asked for before is not what is wanted now
        await self._ask(channel)

    async def _ask(self, channel: Channel) -> None:
        """Ask for a page, one at a time; what comes up meanwhile asks once more when that one has come."""
        if self._asked_at is not None and not self._is_overdue():
            self._ask_again = True
            return
        self._note_asked()
        await channel.send(encode_request_page(self._size))

    def _note_asked(self) -> None:
        self._asked_at, self._ask_again = self._world.clock.monotonic(), False
        self.proof.asked()
        self._world.on_event("page_requested")

    def _is_overdue(self) -> bool:
        return self._asked_at is not None and self._world.clock.monotonic() - self._asked_at > _ASK_AGAIN_S

    def _behind(self, work: Awaitable[None]) -> None:
        async def quietly() -> None:
            try:
                await work
            except ChannelClosed:
                return  # whoever receives notices it too, and opens another

        task = run_job("live-board-request", quietly())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)


def as_gateway_error(error: BaseException) -> Exception:
    """Return what watchers are told of the end of a link."""
    if isinstance(error, GatewayError):
        return error
    broken = RuntimeError("a live board's link broke")
    broken.__cause__ = error
    return broken
