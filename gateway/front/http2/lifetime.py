"""How long a connection lives: pings of both sides, silence, age, and the two GOAWAYs of its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from gateway.front.http2.engine import ENHANCE_YOUR_CALM, Engine
from gateway.front.http2.outflow import Outflow

MAX_PING_STRIKES = 5
MIN_PING_INTERVAL_S = 10.0
DRAIN_ROUND_TRIP_S = 1.0
"""The second GOAWAY leaves after so long when the client does not answer the ping between the two."""
_LAST_WORDS_S = 0.1
"""Between a GOAWAY that accuses and the close: closing at once could take the GOAWAY back."""
_DRAIN_PING: Final = b"drain\0\0\0"
_KEEPALIVE_PING: Final = b"alive\0\0\0"
_OPEN, _ANNOUNCED, _ENDING, _ACCUSED = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class LifetimeBounds:
    """How long a client may keep a connection."""

    idle_s: float = 600.0
    """Without a call for so long, a connection is closed; clients open another one with their next call."""
    age_s: float = 3600.0
    """An older connection takes no new calls: clients reach new replicas and show their certificate again. Spread by
    a tenth."""
    age_grace_s: float = 300.0
    """How long calls and streams of an old connection may go on."""
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    stall_s: float = 60.0
    """A client that takes nothing for so long while answers wait for it is cut off."""


class Lifetime:
    """The life of one connection. `check` is called about once a second."""

    __slots__ = (
        "_engine", "_last_ping_at", "_loop", "_outflow", "_ping_sent_at", "_stage", "_strikes", "last_active_at",
        "last_read_at", "opened_at",
    )  # fmt: skip

    def __init__(self, engine: Engine, outflow: Outflow, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._engine = engine
        self._outflow = outflow
        self._loop = loop
        self._stage = _OPEN
        self._strikes = 0
        self._last_ping_at = 0.0
        self._ping_sent_at: float | None = None
        self.opened_at = self.last_read_at = self.last_active_at = now

    def is_over(self, *, has_streams: bool) -> bool:
        """Whether the connection closes now: it was drained, or its client has left or broken HTTP/2."""
        if self._stage == _OPEN:
            return self._engine.is_done
        return self._stage == _ENDING and not has_streams

    def on_ping(self) -> None:
        """Count pings that come too often while nothing is sent to the client, as gRPC servers do."""
        now = self.last_read_at
        if self._outflow.has_sent:
            # Clients measure their bandwidth by pings after data; those are no abuse.
            self._outflow.has_sent = False
            self._strikes = 0
        elif now - self._last_ping_at < MIN_PING_INTERVAL_S:
            self._strikes += 1
            if self._strikes > MAX_PING_STRIKES and self._stage != _ACCUSED:
                self._stage = _ACCUSED
                self._engine.end(ENHANCE_YOUR_CALM, reason=b"too_many_pings")
                self._outflow.flush_later()
                self._loop.call_later(_LAST_WORDS_S, self._outflow.close)
        self._last_ping_at = now

    def on_ping_acknowledged(self, data: bytes) -> None:
        """Go on with a drain, or note that the client lives."""
        if data == _DRAIN_PING:
            self.finish_drain()
        elif data == _KEEPALIVE_PING:
            self._ping_sent_at = None

    def begin_drain(self) -> None:
        """Send the first GOAWAY and a ping; the second one, with the last stream, follows its answer."""
        if self._stage == _OPEN:
            self._stage = _ANNOUNCED
            self._engine.announce_end()
            self._engine.ping(_DRAIN_PING)
            self._outflow.flush_later()
            self._loop.call_later(DRAIN_ROUND_TRIP_S, self.finish_drain)

    def finish_drain(self) -> None:
        """Name the last stream; the connection closes once all of them are over."""
        if self._stage == _ANNOUNCED:
            self._stage = _ENDING
            self._engine.end()
            self._outflow.flush_later()

    def check(self, now: float, bounds: LifetimeBounds, *, has_streams: bool) -> None:
        """End what is too old, idle, dead or stuck; ping a client that is silent."""
        age_s, outflow = now - self.opened_at, self._outflow
        if age_s > bounds.age_s + bounds.age_grace_s:
            outflow.abort()
            return
        if age_s > bounds.age_s or (not has_streams and now - self.last_active_at > bounds.idle_s):
            self.begin_drain()
        if self._ping_sent_at is not None and now - self._ping_sent_at > bounds.keepalive_timeout_s:
            if self.last_read_at < self._ping_sent_at:
                outflow.abort()
                return
            self._ping_sent_at = None
        if outflow.stalled_since is not None and now - outflow.stalled_since > bounds.stall_s:
            outflow.abort()
        elif self._ping_sent_at is None and now - self.last_read_at > bounds.keepalive_s:
            self._ping_sent_at = now
            self._engine.ping(_KEEPALIVE_PING)
            outflow.flush_later()
