"""The admin port on real sockets: where it listens, what it refuses, and slow clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from gateway.front.admin import AdminAddressRefused, AdminServer, AdminSettings, listen_address
from gateway.telemetry.metrics import BuildInfo, Metrics
from tests.front.admin_bench import Admin, Start, left_of, start

__all__ = ["start"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_only_get(start: Start, method: str) -> None:
    """Any other method is refused, naming the one that works."""
    admin = await start()
    status, headers, _ = await admin.raw(f"{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000000\r\n\r\nx", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
)
async def test_body_is_not_read(start: Start, framing: bytes) -> None:
    """A request with a body is refused at its head, and the rest is not waited for."""
    admin = await start()
    began = asyncio.get_running_loop().time()
    status, _, _ = await admin.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + framing)
    assert (status, asyncio.get_running_loop().time() - began < 5) == (413, True)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 10_000 + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X: 1\r\n" * 5_000 + b"\r\n",
    ],
    ids=["long line", "long header", "many headers"],
)
async def test_large_head_is_refused(start: Start, request_bytes: bytes) -> None:
    """A request head is read up to a few KiB."""
    admin = await start()
    assert (await admin.raw(request_bytes))[0] == 400


async def test_one_request_a_connection(start: Start) -> None:
    """The connection is closed after the answer, so that no client holds it."""
    admin = await start()
    _, headers, _ = await admin.get("/healthz")
    assert headers["connection"] == "close"


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nX-Slow: 1\r\n", b"PRI * HT"])
async def test_slow_client_is_cut(start: Start, sent: bytes) -> None:
    """A connection that does not get to its request is closed after its time."""
    admin = await start(AdminSettings(connection_s=0.2))
    reader, writer = await admin.connect()
    writer.write(sent)
    left = await left_of(reader)
    writer.close()
    assert left == b""


async def test_connections_are_bounded(start: Start) -> None:
    """One connection too many is closed at once, and the port answers again as soon as another one has ended."""
    admin = await start(AdminSettings(max_connections=2, connection_s=5))
    held = [await admin.connect() for _ in range(2)]
    extra_reader, extra_writer = await admin.connect()
    refused = await left_of(extra_reader)
    extra_writer.close()
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(5):
        while True:
            try:
                status, _, _ = await admin.get("/healthz")
                break
            except (ConnectionError, ValueError, IndexError):
                continue
    assert (refused, status) == (b"", 200)


async def test_a_grpc_client_is_refused(start: Start) -> None:
    """The port supports only HTTP/1.1 and continues after other input."""
    admin = await start()
    async with grpc.aio.insecure_channel(admin.server.address) as channel:
        call: Any = channel.unary_unary("/grpc.channelz.v1.Channelz/GetServers")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"", timeout=10)
    assert (raised.value.code(), (await admin.get("/healthz"))[0]) == (grpc.StatusCode.UNAVAILABLE, 200)


def test_port_on_uvloop() -> None:
    """The port works on uvloop, which the gateway runs on: pages, a slow client cut, a stop with one open."""

    async def scenario() -> tuple[int, bytes, bytes]:
        metrics = Metrics(CollectorRegistry(), methods=[], build=BuildInfo(version="", revision="", python=""))
        server = AdminServer(
            "127.0.0.1:0",
            metrics,
            lambda: True,
            lambda: {"ready": True, "services": {}},
            settings=AdminSettings(connection_s=1.0),
        )
        admin = Admin(server=server, metrics=metrics)
        await server.start()
        scraped, _, _ = await admin.get("/metrics")
        slow, slow_writer = await admin.connect()
        slow_writer.write(b"GET /hea")
        cut = await left_of(slow)
        idle, _ = await admin.connect()
        async with asyncio.timeout(5):
            await server.stop()
        closed = await left_of(idle)
        return scraped, cut, closed

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) == (200, b"", b"")


async def test_stop_ends_open_connections(start: Start) -> None:
    """Stopping cuts clients and does not wait for them."""
    admin = await start()
    idle, _ = await admin.connect()
    async with asyncio.timeout(5):
        await admin.server.stop()
        left = await left_of(idle)
    assert left == b""


@pytest.mark.parametrize("listen", ["127.0.0.1:9464", "[::1]:9464", "localhost:0", "127.8.8.8:1"])
def test_loopback_is_listened_on(listen: str) -> None:
    """Loopback addresses need no leave."""
    assert int(listen.rpartition(":")[2]) == listen_address(listen, allow_remote=False)[1]


@pytest.mark.parametrize("listen", ["0.0.0.0:9464", "[::]:9464", "10.0.0.1:9464", "admin.example:9464"])
def test_other_address_needs_leave(listen: str) -> None:
    """Any other address is refused with what to do, unless it is allowed."""
    with pytest.raises(AdminAddressRefused, match=r"listen on 127\.0\.0\.1"):
        listen_address(listen, allow_remote=False)
    assert listen_address(listen, allow_remote=True)[1] == 9464


@pytest.mark.parametrize("listen", ["", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536"])
def test_unreadable_address_is_refused(listen: str) -> None:
    """What is no address is refused, saying how one looks."""
    with pytest.raises(AdminAddressRefused, match="must be host:port"):
        listen_address(listen, allow_remote=True)


async def test_unix_socket_is_listened_on(tmp_path: Path) -> None:
    """A Unix socket serves the same pages, also where a former process left its file."""
    metrics = Metrics(CollectorRegistry(), methods=[], build=BuildInfo(version="", revision="", python=""))
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as former:
        former.bind(str(path))
    server = AdminServer(f"unix:{path}", metrics, lambda: True, lambda: {"ready": True, "services": {}})
    await server.start()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await left_of(reader)
    writer.close()
    address = server.address
    await server.stop()
    assert (answer.split(b"\r\n")[0], address) == (b"HTTP/1.1 200 OK", f"unix:{path}")


@pytest.fixture
def tls_files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


async def test_tls_serves_pages(tls_files: tuple[Path, Path]) -> None:
    """With TLS the port answers, and plaintext gets no page."""
    cert_file, key_file = tls_files
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    metrics = Metrics(CollectorRegistry(), methods=[], build=BuildInfo(version="", revision="", python=""))
    server = AdminServer("127.0.0.1:0", metrics, lambda: True, lambda: {"ready": True, "services": {}}, tls=context)
    admin = Admin(server=server, metrics=metrics)
    await server.start()
    port = int(server.address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=ssl.create_default_context(cafile=cert_file), server_hostname="localhost"
    )
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    page = await left_of(reader)
    writer.close()
    plain_reader, plain_writer = await admin.connect()
    plain_writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    plain = await left_of(plain_reader)
    plain_writer.close()
    await server.stop()
    assert (page.split(b"\r\n")[0], b"200" in plain) == (b"HTTP/1.1 200 OK", False)
