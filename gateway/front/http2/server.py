"""The HTTP/2 server: listeners, connections and their bounds, drain and stop. `calls.py` starts the calls."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.actions.shared.call import Call, Peer
from gateway.front.dispatch import UNNAMED, Dispatch
from gateway.front.endpoint import Endpoint
from gateway.front.http2.acceptor import Acceptor, peer_of
from gateway.front.http2.broken_hosts import BrokenHosts, host_of
from gateway.front.http2.calls import Calls
from gateway.front.http2.connection import Connection, Unfinished
from gateway.front.http2.engine import Engine
from gateway.front.http2.gate import Gate
from gateway.front.http2.lifetime import LifetimeBounds
from gateway.front.http2.outflow import Backlog
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import Clock

_CHECK_EVERY_S = 1.0
_YOUNG_S = 0.05
"""Between the last connection that is taken and GOAWAY. Clients of grpc that check health lose the address for a second
when the two come together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBounds(LifetimeBounds):
    """How long a client may keep a connection, how many there may be, and how much one call may bring."""

    handshake_s: float = 10.0
    connections: int = 4096
    """Each holds a file descriptor that calls to Phoenix and the store need too."""
    message_bytes: int = 4 * 1024 * 1024
    metadata_bytes: int = 16 * 1024
    request_s: float = 60.0
    """How long the message of a call with one message may take to arrive after its headers."""
    broken_wait_s: float = 0.5
    """How long nothing is read of a new connection from a host that has just broken one (`broken_hosts.py`); 0: it is
    read at once. Below the second after which probes of health give up."""


class Http2Server:
    """Serves endpoints on one listener. Make it in a running loop; it binds nothing: give it sockets by `listen`."""

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
        self._make_engine = make_engine
        self._bounds = bounds or ServerBounds()
        self.max_message_bytes = self._bounds.message_bytes
        self.max_metadata_bytes = self._bounds.metadata_bytes
        self.backlog = Backlog()
        self.unfinished = Unfinished()
        self.broken_hosts = BrokenHosts(self._bounds.broken_wait_s)
        self.loop = asyncio.get_running_loop()
        self.gate = gate or Gate(clock)
        self.calls = Calls(
            self.loop, clock.monotonic, Dispatch(chain, clock, on_unexpected), self.gate, self._bounds.request_s
        )
        self._connections: set[Connection] = set()
        self._acceptors: list[Acceptor] = []
        self._check: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    async def listen(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        """Accept connections of a socket that listens, with TLS where a context is given."""
        self._acceptors.append(
            Acceptor(
                listening,
                context,
                lambda: Connection(self, self._make_engine()),
                lambda handshakes: len(self._connections) + handshakes < self._bounds.connections,
                self._bounds.handshake_s,
                lambda address: self.broken_hosts.wait_s(host_of(address), self.monotonic()),
            )
        )
        if self._check is None:
            self._check = self.loop.call_later(_CHECK_EVERY_S, self._check_connections)

    # Connections

    def admit_connection(self, connection: Connection, transport: asyncio.Transport) -> bool:
        """Count a connection in; False where TLS agreed on another protocol."""
        peer = peer_of(transport, self.unnamed_peer, reads_certificates=self._reads_certificates)
        if peer is None:
            return False
        connection.peer = peer
        connection.host = host_of(transport.get_extra_info("peername"))
        connection.life.opened_at += random.uniform(-0.1, 0.1) * self._bounds.age_s  # noqa: S311 - spreads reconnects, protects nothing
        self._connections.add(connection)
        self._idle.clear()
        if self._draining:
            connection.life.begin_drain()
        return True

    def forget_connection(self, connection: Connection) -> None:
        """A connection is closed."""
        self._connections.discard(connection)
        if not self._connections:
            self._idle.set()

    def _check_connections(self) -> None:
        now = self.monotonic()
        self._check = self.loop.call_later(_CHECK_EVERY_S, self._check_connections)
        for connection in list(self._connections):
            connection.life.check(now, self._bounds, has_streams=bool(connection.streams))

    # The end

    async def drain(self, grace_s: float) -> None:
        """Take no new connections; let calls finish for so long, then cut what is left."""
        for acceptor in self._acceptors:
            await acceptor.close()
        young_s = min(_YOUNG_S, grace_s / 4)
        if young_s > 0:
            await asyncio.sleep(young_s)
        self._draining = True
        for connection in list(self._connections):
            connection.life.begin_drain()
        try:
            async with asyncio.timeout(grace_s - young_s):
                await self._idle.wait()
        except TimeoutError:
            tasks = [one.task for each in self._connections for one in each.streams.values() if one.task is not None]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=1.0)
            for connection in list(self._connections):
                connection.outflow.write_now()
                connection.outflow.close()

    async def stop(self) -> None:
        """Close everything at once."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        for acceptor in self._acceptors:
            await acceptor.close()
        for connection in list(self._connections):
            connection.outflow.abort()
        self.calls.stop()
        self.gate.stop()
