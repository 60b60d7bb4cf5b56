"""The bounds of connections, on servers of both fronts: idle and old ones, handshakes, and how many there may be."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty

from gateway.actions.shared.call import Call
from gateway.config.model import TlsFiles
from gateway.front.endpoint import Endpoint
from gateway.front.http2.engines import find_engine
from gateway.front.http2.server import Http2Server, ServerBounds
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import SystemClock
from gateway.server.listener.listen import ConnectionBounds, server_options
from gateway.server.listener.tls import HandshakeTls, TlsSource
from tests.certificates import Authority, Pair
from tests.raw_http2 import RawConnection

Serve = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture(params=["grpc", "http2"])
async def serve(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a server of each front with the gateway's options and other bounds. It answers with nothing."""
    servers: list[Any] = []

    async def start(own: Pair | None = None, **bounds: Any) -> str:
        server: Any
        if request.param == "grpc":
            server, port = await _serve_grpc(own, bounds)
        else:
            server, port = await _serve_http2(own, bounds, tmp_path)
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await (server.stop(0) if isinstance(server, grpc.aio.Server) else server.stop())


async def _serve_grpc(own: Pair | None, bounds: dict[str, Any]) -> tuple[grpc.aio.Server, int]:
    class Answers(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            async def answer(request: bytes, context: Any) -> bytes:
                return b""

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server(options=server_options(ConnectionBounds(**bounds)))
    server.add_generic_rpc_handlers((Answers(),))
    if own is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(own.key, own.certificate)]))
    await server.start()
    return server, port


async def _serve_http2(own: Pair | None, bounds: dict[str, Any], folder: Path) -> tuple[Http2Server, int]:
    async def answer(request: Empty, call: Call) -> bytes:
        return b""

    engine, _ = find_engine()
    assert engine is not None
    endpoint = Endpoint(
        path="/a.B/C", handler=answer, request_class=Empty, client_streaming=False, server_streaming=False
    )
    server = Http2Server(
        {endpoint.path: endpoint},
        Chain([]),
        SystemClock(),
        lambda call, error: None,
        engine,
        bounds=ServerBounds(**bounds),
    )
    tls = None
    if own is not None:
        own.write(folder, "server")
        files = TlsFiles(cert_file=folder / "server.pem", key_file=folder / "server.key", client_ca_file=None)
        tls = HandshakeTls(TlsSource(files, SystemClock(), lambda event: None))
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    await server.listen(listening, tls)
    return server, port


def _until_gone(address: str, *, calls: bool) -> tuple[float, float]:
    """Return the time until a connection gets GOAWAY, with a call every 50 ms or without calls, and the longest gap.

    A gap is the time from one call to the next; a busy machine makes them longer.
    """
    began = turned = time.monotonic()
    gap_s = 0.0
    with RawConnection(address) as connection:
        stream = 1
        while not connection.gone_away and time.monotonic() - began < 15:
            if calls:
                connection.send(connection.call(stream, "/a.B/C", b""))
                stream += 2
            connection.read(lambda: connection.gone_away, within_s=0.05)
            before, turned = turned, time.monotonic()
            gap_s = max(gap_s, turned - before)
        assert connection.gone_away
    return time.monotonic() - began, gap_s


async def _in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(serve: Serve) -> None:
    """Idle means: no call."""
    address = await serve(idle_s=0.5, age_s=4.0)
    idle_s, _ = await _in_thread(lambda: _until_gone(address, calls=False))
    assert idle_s < 3.0
    busy_s = 0.0
    for _ in range(5):
        busy_s, gap_s = await _in_thread(lambda: _until_gone(address, calls=True))
        if busy_s > 2.0 or gap_s < 0.3:
            break  # otherwise the machine stood still, and the connection was idle
    assert busy_s > 2.0


async def test_an_old_connection_gets_goaway_even_if_busy(serve: Serve) -> None:
    """Within its age and a tenth; its client's next call goes over a new one and does not fail."""
    address = await serve(age_s=1.0, age_grace_s=5.0)
    age_s, _ = await _in_thread(lambda: _until_gone(address, calls=True))
    assert 0.5 < age_s < 8.0
    async with grpc.aio.insecure_channel(address) as channel:
        echo: Any = channel.unary_unary("/a.B/C")
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert await echo(b"") == b""


async def test_a_handshake_that_never_ends_is_ended(serve: Serve) -> None:
    """A client that connects with TLS and sends nothing is disconnected after a short time."""
    address = await serve(Authority().issue("localhost"), handshake_s=0.5)

    def wait() -> float:
        began = time.monotonic()
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            assert connection.recv(1) == b""
        return time.monotonic() - began

    assert await _in_thread(wait) < 5.0


async def test_more_connections_than_there_may_be_are_hung_up_on(serve: Serve) -> None:
    """Existing ones continue."""
    address = await serve(connections=5)

    def crowd() -> tuple[int, bool]:
        kept: list[RawConnection] = []
        refused = 0
        for _ in range(12):
            try:
                connection = RawConnection(address)
            except OSError:
                refused += 1
                continue
            if connection.is_closed or not connection.seen:
                refused += 1
            else:
                kept.append(connection)
        first = kept[0]
        first.send(first.call(1, "/a.B/C", b""))
        first.read(lambda: first.status(1) is not None)
        for connection in kept:
            connection.close()
        return refused, first.status(1) == 0

    assert await _in_thread(crowd) == (7, True)


async def test_handshakes_count_as_connections(serve: Serve) -> None:
    """Each holds a file descriptor: clients that connect and say nothing are hung up on too."""
    handshake_s = 3.0
    address = await serve(Authority().issue("localhost"), connections=5, handshake_s=handshake_s)

    def crowd() -> tuple[int, int, float]:
        host, _, port = address.rpartition(":")
        began = time.monotonic()
        silent = [socket.create_connection((host, int(port)), timeout=10) for _ in range(12)]
        while sum(map(_is_hung_up_on, silent)) < 7 and time.monotonic() - began < handshake_s - 1.0:
            pass
        time.sleep(0.2)
        ended, took_s = sum(map(_is_hung_up_on, silent)), time.monotonic() - began
        while sum(map(_is_hung_up_on, silent)) < 12 and time.monotonic() - began < 20:
            pass
        later = sum(map(_is_hung_up_on, silent))
        for one in silent:
            one.close()
        return ended, later, took_s

    ended: list[int] = []
    for _ in range(5):
        *ended, took_s = await _in_thread(crowd)
        if took_s < handshake_s:
            break  # otherwise the machine stood still, and the handshakes had their time meanwhile
    assert [7, 12] == ended


def _is_hung_up_on(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("serve", ["http2"], indirect=True)  # grpc's own handshake is grpc's to test
async def test_tls_is_1_2_or_newer_and_speaks_http2(serve: Serve) -> None:
    """An older version ends in the handshake; a client that does not offer `h2` is hung up on."""
    address = await serve(Authority().issue("localhost"))

    def attempt(newest: ssl.TLSVersion, protocols: list[str]) -> str | None:
        host, _, port = address.rpartition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
        context.set_alpn_protocols(protocols)
        with socket.create_connection((host, int(port)), timeout=5) as plain:
            try:
                with context.wrap_socket(plain) as secured:
                    return secured.version() if secured.recv(9) else "hung up"
            except OSError:
                return None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the old versions
        tried = [
            (ssl.TLSVersion.TLSv1_1, ["h2"]),
            (ssl.TLSVersion.TLSv1_2, ["h2"]),
            (ssl.TLSVersion.TLSv1_3, ["h2"]),
            (ssl.TLSVersion.TLSv1_3, ["http/1.1"]),
        ]
        found = [await asyncio.to_thread(attempt, *one) for one in tried]
    assert found[:3] == [None, "TLSv1.2", "TLSv1.3"]
    assert found[3] in (None, "hung up")
