"""The HTTP/2 server: listeners, connections and their bounds, the start of calls, drain and stop."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.actions.shared.call import Call, Peer
from gateway.front.dispatch import NO_DEADLINE_S, UNNAMED, Dispatch
from gateway.front.endpoint import Endpoint
from gateway.front.http2.call_runner import CallRunner, deadline_passed, refusal_trailers
from gateway.front.http2.connection import Connection
from gateway.front.http2.deadlines import Deadlines
from gateway.front.http2.engine import Engine, EngineFailed
from gateway.front.http2.gate import Gate
from gateway.front.http2.stream import Stream
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import Clock

_EAGER = sys.version_info >= (3, 12)
_CHECK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBounds:
    """How long a client may keep a connection, how many there may be, and how much one call may bring."""

    idle_s: float = 600.0
    """Without a call for so long, a connection is closed; clients open another one with their next call."""
    age_s: float = 3600.0
    """An older connection takes no new calls: clients reach new replicas and show their certificate again. Spread by
    a tenth."""
    age_grace_s: float = 300.0
    """How long calls and streams of an old connection may go on."""
    handshake_s: float = 10.0
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    stall_s: float = 60.0
    """A client that takes nothing for so long while something waits for it is cut off."""
    connections: int = 4096
    """Each holds a file descriptor that calls to Phoenix and the store need too."""
    message_bytes: int = 4 * 1024 * 1024
    metadata_bytes: int = 16 * 1024
    backlog: int = 1024


class Http2Server:
    """Serves endpoints on one listener. `start` binds nothing: give it sockets by `listen`."""

    no_deadline_s = NO_DEADLINE_S
    drain_round_trip_s = 1.0

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        chain: Chain,
        clock: Clock,
        on_unexpected: Callable[[Call, BaseException], None],
        make_engine: Callable[[], Engine],
        *,
        peer: Peer = UNNAMED,
        reads_certificates: bool = False,
        bounds: ServerBounds | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.endpoints = endpoints
        self.monotonic = clock.monotonic
        self.unnamed_peer = peer
        self._reads_certificates = reads_certificates
        self.gate = gate or Gate(clock)
        self._runner = CallRunner(Dispatch(chain, clock, on_unexpected), self.gate.leave)
        self._make_engine = make_engine
        self._bounds = bounds or ServerBounds()
        self.max_message_bytes = self._bounds.message_bytes
        self.max_metadata_bytes = self._bounds.metadata_bytes
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._check: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    async def listen(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        """Accept connections of a bound socket, with TLS where a context is given."""
        self.loop = asyncio.get_running_loop()
        self._deadlines: Deadlines[Stream] = Deadlines(self.loop, self.monotonic)
        self._listeners.append(
            await self.loop.create_server(
                lambda: Connection(self, self._make_engine()),
                sock=listening,
                backlog=self._bounds.backlog,
                ssl=context,
                ssl_handshake_timeout=None if context is None else self._bounds.handshake_s,
            )
        )
        if self._check is None:
            self._check = self.loop.call_later(_CHECK_EVERY_S, self._check_connections)

    # Connections

    def admit_connection(self, connection: Connection, transport: asyncio.Transport) -> bool:
        """Count a connection in; False when there are too many, or TLS agreed on another protocol."""
        if len(self._connections) >= self._bounds.connections:
            return False
        secured: Any = transport.get_extra_info("ssl_object")
        if secured is not None:
            if secured.selected_alpn_protocol() != "h2":
                return False
            if self._reads_certificates:
                connection.peer = peer_of_certificate(secured.getpeercert() or {})
        connection.opened_at += random.uniform(-0.1, 0.1) * self._bounds.age_s  # noqa: S311 - spreads reconnects, protects nothing
        self._connections.add(connection)
        self._idle.clear()
        if self._draining:
            connection.begin_drain()
        return True

    def forget_connection(self, connection: Connection) -> None:
        """A connection is closed."""
        self._connections.discard(connection)
        if not self._connections:
            self._idle.set()

    def on_broken(self, connection: Connection, failed: EngineFailed) -> None:
        """A client broke the protocol."""

    def _check_connections(self) -> None:
        bounds, now = self._bounds, self.monotonic()
        self._check = self.loop.call_later(_CHECK_EVERY_S, self._check_connections)
        for connection in list(self._connections):
            age_s = now - connection.opened_at
            if age_s > bounds.age_s + bounds.age_grace_s:
                connection.abort()
            elif age_s > bounds.age_s or (not connection.streams and now - connection.last_active_at > bounds.idle_s):
                connection.begin_drain()
            connection.check_life(now, bounds.keepalive_s, bounds.keepalive_timeout_s, bounds.stall_s)

    # Calls

    def expect(self, stream: Stream) -> None:
        """Watch a call's deadline from its headers on, so that a request that never becomes whole ends too."""
        if stream.deadline_at - stream.arrived_at < self.no_deadline_s:
            self._deadlines.add(stream, stream.deadline_at)

    def begin(self, stream: Stream) -> None:
        """Give a unary call to the gate; start a stream, which is bounded by what it carries."""
        if stream.endpoint.is_unary:
            self.gate.enter(stream)
        else:
            self.start(stream)

    def start(self, stream: Stream) -> None:
        """Run a call's handler."""
        running = self._runner.run(stream, stream.connection.peer)
        if _EAGER:
            stream.task = asyncio.Task(running, loop=self.loop, eager_start=True)  # type: ignore[call-arg]  # from 3.12 on
        else:
            stream.task = self.loop.create_task(running)

    def forget(self, stream: Stream) -> None:
        """A stream is over."""
        self._deadlines.remove(stream)
        self.gate.forget(stream)

    def on_deadline(self, stream: Stream) -> None:
        """Answer in place of a handler that is still at work, and cancel it."""
        if stream.is_over or stream.is_answered:
            return
        stream.expired = True
        stream.finish(refusal_trailers(deadline_passed(), stream.request_id))
        if stream.task is not None:
            stream.task.cancel()

    # The end

    async def drain(self, grace_s: float) -> None:
        """Take no new connections; let calls finish for so long, then cut what is left."""
        self._draining = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.begin_drain()
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            tasks = [one.task for each in self._connections for one in each.streams.values() if one.task is not None]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=1.0)
            for connection in list(self._connections):
                connection.flush()
                connection.close()

    async def stop(self) -> None:
        """Close everything at once."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        self.gate.stop()
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.abort()
        if self._listeners:
            self._deadlines.stop()


def server_context(cert_file: Path, key_file: Path, client_ca_file: Path | None) -> ssl.SSLContext:
    """Return a listener's TLS context: TLS 1.2 or newer, HTTP/2 by ALPN, client certificates where a CA is named."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(cert_file, key_file, password="")
    if client_ca_file is not None:
        context.load_verify_locations(client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def peer_of_certificate(certificate: Mapping[str, Any]) -> Peer:
    """Return the names of a verified client certificate: its one SPIFFE id first, then its DNS names."""
    names = certificate.get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    spiffe = [uri for uri in uris if uri.startswith("spiffe://")] if len(uris) == 1 else []
    dns = [value.lower() for kind, value in names if kind == "DNS" and "*" not in value]
    return Peer(address="tls", names=(*spiffe, *dns))
