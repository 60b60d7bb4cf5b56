"""What the streams room gets from outside, and what a board connection publishes: contracts, settings, live state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.core import board as boards
from gateway.core.board import Frame, Topic
from gateway.core.wire import Page
from gateway.resilience.clock import Clock
from gateway.resilience.retry import RetrySettings
from gateway.streams.subscriber import Resync


class ChannelClosed(Exception):
    """The connection is closed. `silent`: no message arrived for too long. `outdated`: a new one should replace it."""

    def __init__(self, *, silent: bool = False, outdated: bool = False) -> None:
        self.silent = silent
        self.outdated = outdated
        super().__init__("silent" if silent else "outdated" if outdated else "closed")


class Channel(Protocol):
    """An open connection. It handles pings and pongs itself."""

    async def receive(self) -> Frame:
        """Return the next message. Raises: ChannelClosed; PhoenixAnswerUnreadable, and the next one may be readable."""
        ...

    async def send(self, message: str) -> None:
        """Send one message. Raises: ChannelClosed."""
        ...

    async def close(self) -> None:
        """Close the connection. It may be called several times."""
        ...


OpenTopic = Callable[[Topic], Awaitable[Channel]]
"""Opens a signed connection; each time with a new timestamp. Raises: GatewayError."""
Encode = Callable[[Page, str, int, float], bytes]
"""Serialises an update for the watchers. Arguments: page, epoch, sequence, time of receipt (Unix seconds)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """Times and limits of a board connection."""

    retry: RetrySettings = field(default_factory=lambda: RetrySettings(first_wait_s=0.5, longest_wait_s=30.0))
    """Waits between connections. The first waits are short, because most interruptions are restarts of a server."""
    steady_after_s: float = 10.0
    """A connection that lasted this long was successful, and the waits start again from the first one."""
    first_board_within_s: float = 15.0
    """How long watchers wait for a first board before they get an error."""
    rejections: int = 20
    """After this many 401s in a row (some minutes), a board that was live ends. If the clock or secret is corrected
    earlier, watchers get only a resync."""
    refusals: int = 3
    """The same for any other refusal: gone, not active, forbidden."""
    whole_after_s: float = 3.0
    """After a request for more entries, Phoenix shows all it will show within this time, even if that is less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDependencies:
    """What the hub and its connections get from outside."""

    open_topic: OpenTopic
    encode: Encode
    clock: Clock
    new_epoch: Callable[[], str]
    random: Callable[[], float]
    on_event: Callable[[str], None] = lambda name: None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """The state of a board within one connection.

    `version` counts its changes. `asked_for`: the requested number of entries; `whole_up_to`: up to this number it is
    known that Phoenix shows no more. `received_at`: Unix seconds. `resync`: why the epoch began; None for the first.
    `encoded_pages`: pages that readers serialised, by offset and size.
    """

    page: Page
    epoch: str
    version: int
    asked_for: int
    whole_up_to: int
    received_at: float
    resync: Resync | None
    encoded_pages: dict[tuple[int, int], bytes] = field(default_factory=dict, repr=False, compare=False)

    def holds(self, count: int) -> bool:
        """Tell whether the page has the first `count` entries, or all that Phoenix shows."""
        return count <= self.whole_up_to or boards.holds_all(self.page, count, self.asked_for)
