"""The connections to Phoenix: opened by aiohttp, kept and chosen here.

aiohttp's pool takes the oldest connection, and knows nothing of one that the server is about to close. This one takes
the newest, asks `idle_time.py`, and looks at the socket for a close that has arrived. Connections are used for less
than a minute, so that a change of DNS is followed while they are busy.
"""

from __future__ import annotations

import asyncio
import functools
import math
import select
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler

from gateway.phoenix.http_types import NotSent
from gateway.phoenix.idle_time import IdleSettings, IdleTime

_STATUS_LINE = len(b"HTTP/1.1 200")
_HAS_CLOSED = getattr(select, "POLLRDHUP", select.POLLHUP)
_HAS_ARRIVED = select.POLLIN | _HAS_CLOSED
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """How connections are made and kept."""

    max_connections_per_host: int = 300
    """Connections at once to one host; further calls wait within their deadline. One process has CPU time for about 300
    calls at once to a Phoenix that answers after 50 ms. The limit is for each host, so that an ingestion host that
    hangs cannot keep a wallet call from fetching the platform key; three that hang leave some of 1,024 descriptors."""
    connect_timeout_s: float = 3.0
    """Longest wait for one connection with TLS; shorter than most deadlines, because another try is safe."""
    max_age_s: float = 45.0
    """Age after which a connection is replaced. With the 10 s for which names are remembered, a change of DNS is
    followed within a minute."""
    old_for_s: float = 5.0
    """How long old connections are used once a new one could not be made, before that is tried again."""
    watched: int = 8
    """Idle connections that are kept to learn from, while none of them may be used."""
    idle: IdleSettings = field(default_factory=IdleSettings)


class Channel(ResponseHandler):
    """One connection, and what decides whether a request may be sent on it, or was certainly not read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.made_at = time.monotonic()
        self.uses = 0
        self.idle_since: float | None = None
        self.rested_at = 0.0
        """When the last answer was complete."""
        self.idle_s = 0.0
        """How long it had been idle when the present request was sent."""
        self.began = b""
        """The first bytes of the present answer."""
        self.on_closed: Callable[[Channel], None] | None = None
        """Called when the server closes the connection while it is idle."""
        self._socket: select.poll | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare to look at the socket."""
        super().connection_made(transport)
        socket = transport.get_extra_info("socket")
        if socket is not None:
            self._socket = select.poll()
            # With TLS, bytes on the socket need not be for a call: the server sends session tickets at any time.
            has_tls = transport.get_extra_info("sslcontext") is not None
            self._socket.register(socket.fileno(), _HAS_CLOSED if has_tls else _HAS_ARRIVED)

    def data_received(self, data: bytes) -> None:
        """Keep the beginning of the answer: its status counts whatever follows."""
        if len(self.began) < _STATUS_LINE or self.began[9:10] == b"1":
            self.began = _behind_hints(self.began + data)
        super().data_received(data)

    def eof_received(self) -> None:
        """The server closes the connection."""
        self._is_over()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        self._is_over()
        super().connection_lost(exc)

    @property
    def is_usable(self) -> bool:
        """Whether it is open, as far as this machine knows, and nothing has arrived that no call waits for."""
        transport = self.transport
        if transport is None or transport.is_closing() or self.should_close:
            return False
        return self._socket is None or not self._socket.poll(0)

    @property
    def status(self) -> int | None:
        """The status of the present answer, if its beginning has arrived."""
        digits = self.began[9:12]
        return int(digits) if self.began.startswith(b"HTTP/1.") and digits.isdigit() else None

    def _is_over(self) -> None:
        if self.idle_since is not None and self.on_closed is not None:
            self.on_closed(self)


class Host:
    """What is known of one host, and its idle connections, newest last."""

    def __init__(self, url: yarl.URL, settings: IdleSettings) -> None:
        self.request = aiohttp.ClientRequest("GET", url)
        self.name = self.request.headers["host"]
        self.idle_time = IdleTime(settings)
        self.idle: dict[Channel, aiohttp.connector.Connection] = {}
        self.in_use = 0
        self.waiting = 0
        self.connected_at = self.old_until = float("-inf")


class Connections:
    """The connections to all hosts."""

    def __init__(self, tls: ssl.SSLContext, settings: ConnectionSettings | None = None) -> None:
        self._tls = tls
        self._settings = settings or ConnectionSettings()
        # Not rounded up to whole seconds: the caller's deadline must come later.
        self._limit = aiohttp.ClientTimeout(connect=self._settings.connect_timeout_s, ceil_threshold=math.inf)
        self._connector: aiohttp.TCPConnector | None = None
        self._hosts: list[Host] = []
        self._sweep: asyncio.TimerHandle | None = None

    def host(self, url: yarl.URL) -> Host:
        """Return a new host."""
        host = Host(url, self._settings.idle)
        self._hosts.append(host)
        return host

    def is_crowded(self, host: Host) -> bool:
        """Whether calls wait for the end of others because no more connections may be made."""
        return host.waiting > 0 and host.in_use >= self._settings.max_connections_per_host

    async def take(self, host: Host, *, is_repeatable: bool) -> aiohttp.connector.Connection:
        """Return a connection for one request. Give it back with `give_back`.

        Args: `is_repeatable`: the request may be sent again if this connection turns out to be closed.
        Raises: aiohttp.ClientError, OSError, TimeoutError, NotSent; nothing was sent then.
        """
        connection = self._kept(host, is_repeatable=is_repeatable)
        ended = 0
        while ended < _ATTEMPTS:
            if connection is None:
                connection = await self._opened(host, is_repeatable=is_repeatable)
            channel = as_channel(connection)
            channel.idle_s = time.monotonic() - channel.rested_at if channel.uses else 0.0
            may_use = not channel.uses or host.idle_time.allows(
                channel.idle_s, time.monotonic(), is_repeatable=is_repeatable
            )
            if may_use and channel.is_usable:
                channel.uses += 1
                channel.began = b""
                host.in_use += 1
                return connection
            connection.close()  # it ended meanwhile, or brought bytes that no call waits for
            connection = None
            ended += may_use
        raise NotSent("the server ends its connections, or sends before it was asked")

    def give_back(self, host: Host, connection: aiohttp.connector.Connection, *, is_whole: bool) -> None:
        """Keep a connection only if nothing of this call is left, neither of its answer nor of its request."""
        host.in_use -= 1
        transport = connection.transport
        if not (is_whole and transport is not None and not transport.get_write_buffer_size()):
            if transport is not None:
                transport.abort()
            connection.close()
            return
        channel, now = as_channel(connection), time.monotonic()
        channel.rested_at = now
        if channel.should_close or self._was_replaced(host, channel):
            connection.close()
        elif host.in_use + 1 + len(host.idle) + host.waiting > self._settings.max_connections_per_host:
            # Another call waits. It gets this connection if any request may use it, else the place for a new one.
            if host.idle_time.allows(0.0, now, is_repeatable=False):
                connection.release()
            else:
                connection.close()
        elif len(host.idle) < self._settings.watched or host.idle_time.allows(0.0, now, is_repeatable=False):
            channel.idle_since = now
            if channel.on_closed is None:
                channel.on_closed = functools.partial(self._closed_by_server, host)
            host.idle[channel] = connection
            self._sweep_later()
        else:
            connection.close()

    async def close(self) -> None:
        """Close all connections; calls under way fail."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for host in self._hosts:
            for connection in self._without_idle(host, list(host.idle)):
                connection.close()
        if self._connector is not None:
            await self._connector.close()
            self._connector = None

    def _kept(self, host: Host, *, is_repeatable: bool) -> aiohttp.connector.Connection | None:
        """Return the connection that was used last among those that are not too old, if it may be used."""
        now = time.monotonic()
        for channel in reversed(host.idle):
            since = channel.idle_since or now
            if now - channel.made_at > self._settings.max_age_s and now >= host.old_until:
                continue
            if not channel.is_usable:
                self._closed_by_server(host, channel)
                return self._kept(host, is_repeatable=is_repeatable)
            oldest = next(iter(host.idle))
            if oldest.is_usable:  # its close may have arrived and wait to be read
                host.idle_time.outlived(now - (oldest.idle_since or now))
            if not host.idle_time.allows(now - since, now, is_repeatable=is_repeatable):
                return None
            (connection,) = self._without_idle(host, [channel])
            return connection
        return None

    def _was_replaced(self, host: Host, channel: Channel) -> bool:
        """Whether a new connection was made since this one is old."""
        return host.connected_at - channel.made_at > self._settings.max_age_s

    async def _opened(self, host: Host, *, is_repeatable: bool) -> aiohttp.connector.Connection:
        """Return a new connection, or one that another call has just given back.

        If none can be made, an old one is better than none: its server may work while its name does not.
        """
        connector = self._connector or self._new_connector()
        if host.idle and host.in_use + len(host.idle) >= self._settings.max_connections_per_host:
            for connection in self._without_idle(host, [next(iter(host.idle))]):
                connection.close()
        began_at = time.monotonic()
        host.waiting += 1
        try:
            connection = await connector.connect(host.request, [], self._limit)
        except (aiohttp.ClientError, OSError):
            host.old_until = time.monotonic() + self._settings.old_for_s
            kept = self._kept(host, is_repeatable=is_repeatable)
            if kept is None:
                raise
            return kept
        finally:
            host.waiting -= 1
        if not as_channel(connection).uses:
            host.connected_at = time.monotonic()
            host.idle_time.connected(host.connected_at - began_at)
        return connection

    def _new_connector(self) -> aiohttp.TCPConnector:
        connector = aiohttp.TCPConnector(
            ssl=self._tls, limit=0, limit_per_host=self._settings.max_connections_per_host, keepalive_timeout=1.0
        )
        connector._factory = functools.partial(Channel, loop=asyncio.get_running_loop())  # type: ignore[assignment]
        self._connector = connector
        return connector

    def _closed_by_server(self, host: Host, channel: Channel) -> None:
        since = channel.idle_since
        for connection in self._without_idle(host, [channel]):
            if since is not None:
                now = time.monotonic()
                host.idle_time.ended(now - since, now)
            connection.close()

    def _without_idle(self, host: Host, channels: list[Channel]) -> list[aiohttp.connector.Connection]:
        """Take these from the idle ones, and return their connections."""
        taken = []
        for channel in channels:
            connection = host.idle.pop(channel, None)
            channel.idle_since = None
            if connection is not None:
                taken.append(connection)
        return taken

    def _sweep_later(self) -> None:
        if self._sweep is None:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(self._settings.idle.longest_s / 4, self._sweep_now)

    def _sweep_now(self) -> None:
        """Close connections that were idle for too long or are too old, and learn from them."""
        self._sweep = None
        now = time.monotonic()
        for host in self._hosts:
            over: list[Channel] = []
            for channel in host.idle:
                idle_s = now - (channel.idle_since or now)
                if idle_s > self._settings.idle.longest_s or self._was_replaced(host, channel):
                    if channel.is_usable:
                        host.idle_time.outlived(idle_s)
                    over.append(channel)
            for connection in self._without_idle(host, over):
                connection.close()
            if host.idle:
                self._sweep_later()


def _behind_hints(began: bytes) -> bytes:
    """Return the answer without the interim ones (1xx) before it; the last of those, if nothing has followed yet.

    It is never empty: a request that got any answer was read, and its connection was not stale.
    """
    while began[9:10] == b"1" and (end := began.find(b"\r\n\r\n")) >= 0 and len(began) > end + 4:
        began = began[end + 4 :]
    return began if began[9:10] == b"1" else began[:_STATUS_LINE]


def as_channel(connection: aiohttp.connector.Connection) -> Channel:
    """Return the protocol of a connection that is in use."""
    channel: Any = connection.protocol
    assert isinstance(channel, Channel)
    return channel
