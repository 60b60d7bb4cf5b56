"""What no honest client does to a connection: each is ended or refused, and the others are served meanwhile."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
import time
import warnings
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty

from bench.http2 import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    read_settings,
    request_headers,
)
from gateway.actions.shared.call import Call
from gateway.config.model import TlsFiles
from gateway.front.endpoint import Endpoint
from gateway.front.http2.engines import find_engine
from gateway.front.http2.server import Http2Server, ServerBounds
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import SystemClock
from gateway.server.listener.listen import MAX_METADATA_BYTES, MAX_REQUEST_BYTES, ConnectionBounds, server_options
from gateway.server.listener.tls import HandshakeTls, TlsSource
from gateway.v1 import tokens_pb2, tokens_pb2_grpc
from tests.certificates import Authority, Pair
from tests.gateway_process import TOO_LARGE, GatewayProcess, of_sandbox, resident_mib
from tests.raw_http2 import RawConnection, ping, reset
from tests.sandbox_process import SandboxProcess

MINT = "/phoenix.gateway.v1.TokenService/MintLaunchJWT"
VISITOR = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
BOMB_MIB = 4096


@pytest.fixture(scope="module")
def attacked(sandbox_process: SandboxProcess) -> Iterator[GatewayProcess]:
    """A separate gateway, because the test's effects stay in its memory for some time."""
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
    with GatewayProcess({**settings, "GATEWAY_LOG_LEVEL": "warning"}) as process:
        yield process


@pytest.fixture
def others(attacked: GatewayProcess) -> Iterator[Callable[[], None]]:
    """Make a call as another client, also after the test."""
    with grpc.insecure_channel(attacked.address) as channel:
        stub = tokens_pb2_grpc.TokenServiceStub(channel)

        def call() -> None:
            assert stub.MintLaunchJWT(VISITOR, timeout=15).token != ""

        call()
        yield call
        call()


def raw(channel: Any, path: str) -> Any:
    """A method of bytes, of either kind of channel."""
    return channel.unary_unary(path)


def test_a_message_that_is_too_large_is_refused_before_it_is_taken_in(
    attacked: GatewayProcess, others: Callable[[], None]
) -> None:
    """By its announced length: not a byte more than that is waited for. Just below, it is read."""
    with RawConnection(attacked.address) as connection:
        prefix = b"\x00" + struct.pack(">I", MAX_REQUEST_BYTES + 1)
        connection.send(frame(HEADERS, END_HEADERS, 1, request_headers(attacked.address, MINT)))
        connection.send(frame(0, 0, 1, prefix))
        connection.read(lambda: connection.status(1) is not None)
        assert connection.status(1) == TOO_LARGE.value[0]
    with grpc.insecure_channel(attacked.address) as channel, pytest.raises(grpc.RpcError) as read:
        raw(channel, MINT)(b"\xff" * (MAX_REQUEST_BYTES - 10))
    assert read.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_metadata_that_is_too_large_is_refused(attacked: GatewayProcess, others: Callable[[], None]) -> None:
    """Above the bound always, below it never."""
    with grpc.insecure_channel(attacked.address) as channel:
        method = tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT
        for _ in range(5):
            with pytest.raises(grpc.RpcError) as refused:
                method(VISITOR, metadata=(("x-much", "y" * MAX_METADATA_BYTES),))
            assert refused.value.code() is TOO_LARGE
            assert method(VISITOR, metadata=(("x-less", "y" * (MAX_METADATA_BYTES - 2048)),)).token != ""


def test_headers_without_end_take_no_memory(attacked: GatewayProcess, others: Callable[[], None]) -> None:
    """CONTINUATION after CONTINUATION: 60 MiB of them leave nothing behind."""
    before = resident_mib(attacked.pid)
    with RawConnection(attacked.address) as connection:
        connection.send(frame(HEADERS, 0, 1, request_headers(attacked.address, MINT)))
        one = b"\x00\x04x-ab\x7f\x81\x7c" + b"y" * 16_000
        for _ in range(4000):
            if not connection.send(frame(CONTINUATION, 0, 1, one)):
                break
        others()
    assert resident_mib(attacked.pid) < before + 40


@pytest.mark.timeout(120)
def test_a_compressed_bomb_is_refused_before_it_goes_off(attacked: GatewayProcess, others: Callable[[], None]) -> None:
    """4 GiB of zeros in 4 MB of gzip: refused as too large, in no time and with no memory to speak of."""
    # One block of 16 MiB, flushed so that it can be repeated.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = b"\x1f\x8b\x08" + bytes(6) + b"\xff" + block * (BOMB_MIB // 16)
    assert len(bomb) < MAX_REQUEST_BYTES
    before = resident_mib(attacked.pid)
    with RawConnection(attacked.address) as connection:
        further = [("grpc-encoding", "gzip")]
        connection.send(frame(HEADERS, END_HEADERS, 1, request_headers(attacked.address, MINT, further)))
        rest = b"\x01" + struct.pack(">I", len(bomb)) + bomb
        _send_all(connection, rest)
        connection.read(lambda: connection.status(1) is not None)
        assert connection.status(1) == TOO_LARGE.value[0]
    assert resident_mib(attacked.pid) < before + 40


def test_an_honest_compressed_message_is_read(attacked: GatewayProcess) -> None:
    """Clients may compress."""
    with grpc.insecure_channel(attacked.address, compression=grpc.Compression.Gzip) as channel:
        assert tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(VISITOR).token != ""


def _send_all(connection: RawConnection, data: bytes) -> None:
    """Send on stream 1 as a client does that keeps to the windows, until all is sent or the call has ended."""
    windows = {0: 65_535, 1: 65_535}
    at = taken = 0
    until = time.monotonic() + 30
    while at < len(data) and connection.status(1) is None and not connection.is_closed and time.monotonic() < until:
        connection.read(lambda: True, within_s=0.05)  # what is there
        for one in connection.seen[taken:]:
            if one.kind == WINDOW_UPDATE:
                windows[one.stream] += struct.unpack(">I", one.payload)[0]
            elif one.kind == SETTINGS:
                windows[1] += read_settings(one.payload).get(INITIAL_WINDOW_SIZE, 65_535) - 65_535
        taken = len(connection.seen)
        while (room := min(*windows.values(), 16_384, len(data) - at)) > 0:
            connection.send(frame(0, END_STREAM if at + room == len(data) else 0, 1, data[at : at + room]))
            at += room
            windows = {stream: left - room for stream, left in windows.items()}
        if at < len(data):
            connection.read(within_s=0.05)


def test_a_flood_of_pings_ends_the_connection(attacked: GatewayProcess, others: Callable[[], None]) -> None:
    """ENHANCE_YOUR_CALM after a few; other clients are not affected."""
    with RawConnection(attacked.address) as connection:
        for number in range(2000):
            if not connection.send(ping(number)) or connection.gone_away:
                break
            if number % 20 == 0:
                others()
                connection.read(lambda: connection.gone_away, within_s=0.01)
        connection.read(lambda: connection.gone_away)
        last = [one.payload for one in connection.seen if one.kind == GOAWAY]
    assert connection.gone_away
    assert last == [] or struct.unpack(">I", last[0][4:8]) == (11,)


def test_pings_between_calls_are_no_flood(attacked: GatewayProcess) -> None:
    """A client that looks after its connection now and then, while it has calls, keeps it."""
    with RawConnection(attacked.address) as connection:
        for stream in range(1, 21, 2):
            connection.send(connection.call(stream, MINT, VISITOR.SerializeToString()) + ping(stream))
            connection.read(lambda stream=stream: connection.status(stream) is not None)
            assert connection.status(stream) == 0
        assert not connection.gone_away


@pytest.mark.timeout(120)
def test_rapid_resets_leave_the_others_served_and_memory_bounded(
    attacked: GatewayProcess, others: Callable[[], None]
) -> None:
    """CVE-2023-44487: tens of thousands of calls a second, each reset at once. Others wait, and none fails."""
    before = resident_mib(attacked.pid)
    connection = RawConnection(attacked.address)
    is_over = threading.Event()

    def flood() -> None:
        stream = 1
        while not is_over.is_set():
            calls = (
                connection.call(one, MINT, VISITOR.SerializeToString()) + reset(one)
                for one in range(stream, stream + 100, 2)
            )
            if not connection.send(b"".join(calls)):
                return
            stream += 100

    attacker = threading.Thread(target=flood)
    attacker.start()
    try:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            others()
    finally:
        is_over.set()
        attacker.join(10)
        connection.close()
    assert resident_mib(attacked.pid) < before + 250
    began = time.monotonic()
    others()
    assert time.monotonic() - began < 5


def test_what_is_no_http2_is_hung_up_on(attacked: GatewayProcess, others: Callable[[], None]) -> None:
    """HTTP/1, TLS on a plain port, noise."""
    host, _, port = attacked.address.rpartition(":")
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 4096):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(data)
            while connection.recv(4096):
                pass


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


def _until_gone(address: str, *, calls: bool) -> float:
    """Return the time until a connection gets GOAWAY, with a call every 50 ms or without calls."""
    began = time.monotonic()
    with RawConnection(address) as connection:
        stream = 1
        while not connection.gone_away and time.monotonic() - began < 15:
            if calls:
                connection.send(connection.call(stream, "/a.B/C", b""))
                stream += 2
            connection.read(lambda: connection.gone_away, within_s=0.05)
        assert connection.gone_away
    return time.monotonic() - began


async def _in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(serve: Serve) -> None:
    """Idle means: no call."""
    address = await serve(idle_s=0.5, age_s=4.0)
    assert await _in_thread(lambda: _until_gone(address, calls=False)) < 3.0
    assert await _in_thread(lambda: _until_gone(address, calls=True)) > 2.0


async def test_an_old_connection_gets_goaway_even_if_busy(serve: Serve) -> None:
    """Within its age and a tenth; its client's next call goes over a new one and does not fail."""
    address = await serve(age_s=1.0, age_grace_s=5.0)
    assert 0.5 < await _in_thread(lambda: _until_gone(address, calls=True)) < 8.0
    async with grpc.aio.insecure_channel(address) as channel:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert await raw(channel, "/a.B/C")(b"") == b""


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
    address = await serve(Authority().issue("localhost"), connections=5, handshake_s=1.5)

    def crowd() -> tuple[int, int]:
        host, _, port = address.rpartition(":")
        silent = [socket.create_connection((host, int(port)), timeout=10) for _ in range(12)]
        time.sleep(0.5)
        ended = sum(_is_hung_up_on(one) for one in silent)
        time.sleep(2.5)
        later = sum(_is_hung_up_on(one) for one in silent)
        for one in silent:
            one.close()
        return ended, later

    assert (7, 12) == await _in_thread(crowd)


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
