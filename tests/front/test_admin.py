"""The admin port on real sockets: its pages, nothing else, and slow clients."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
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
from prometheus_client.parser import text_string_to_metric_families

from gateway.front.admin import AdminAddressRefused, AdminServer, AdminSettings, Readiness, listen_address
from gateway.telemetry.metrics import BuildInfo, Metrics

SERVICE = "phoenix.gateway.v1.EventService"


@dataclass
class Admin:
    """An admin server with its dependencies, and one raw request to it."""

    server: AdminServer
    metrics: Metrics
    live: bool = True
    ready: bool = True
    services: dict[str, bool] = field(default_factory=lambda: {SERVICE: True})
    broken: Exception | None = None

    def readiness(self) -> Readiness:
        if self.broken is not None:
            raise self.broken
        return {"ready": self.ready, "services": self.services}

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.server.address.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def raw(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send these bytes. Return status, headers and body of the answer until the end of the connection."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            answer = await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split(" ")[1]), headers, body

    async def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return await self.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


Start = Callable[..., Awaitable[Admin]]


async def left_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other side closes or resets the connection."""
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:
        return b""


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[AdminServer] = []

    async def run(settings: AdminSettings | None = None) -> Admin:
        metrics = Metrics(
            CollectorRegistry(), methods=["/a.B/C"], build=BuildInfo(version="1.2.3", revision="abc", python="3.11")
        )
        admin: Admin
        server = AdminServer("127.0.0.1:0", metrics, lambda: admin.live, lambda: admin.readiness(), settings=settings)
        admin = Admin(server=server, metrics=metrics)
        await server.start()
        servers.append(server)
        return admin

    yield run
    for server in servers:
        await server.stop()


async def test_liveness_is_reported(start: Start) -> None:
    """/healthz is 200 while the process is live, otherwise 503."""
    admin = await start()
    alive = await admin.get("/healthz")
    admin.live = False
    dead = await admin.get("/healthz")
    assert [(alive[0], alive[2]), (dead[0], dead[2])] == [(200, b'{"live":true}'), (503, b'{"live":false}')]


async def test_readiness_names_each_service(start: Start) -> None:
    """/readyz is 200 with the state of each service, also if one fails but the process accepts calls."""
    admin = await start()
    admin.services = {SERVICE: False, "phoenix.gateway.v1.TokenService": True}
    status, headers, body = await admin.get("/readyz")
    assert (200, "application/json", {"ready": True, "services": admin.services}) == (
        status,
        headers["content-type"],
        json.loads(body),
    )


async def test_heads_of_evidence_are_reported(start: Start) -> None:
    """/evidence/head is the document that it is given; 503 while its store is not there, 404 where there is none."""
    admin = await start()
    none = await admin.get("/evidence/head")
    heads: list[bytes | None] = [b'{"heads":[]}', None]

    async def head() -> bytes | None:
        return heads.pop(0)

    server = AdminServer("127.0.0.1:0", admin.metrics, lambda: True, admin.readiness, evidence_head=head)
    await server.start()
    other = Admin(server=server, metrics=admin.metrics)
    reported, gone = await other.get("/evidence/head"), await other.get("/evidence/head")
    await server.stop()
    assert [(404, b'{"error":"not_found"}'), (200, b'{"heads":[]}'), (503, b'{"error":"store_unavailable"}')] == [
        (status, body) for status, _, body in (none, reported, gone)
    ]


async def test_not_ready_is_503(start: Start) -> None:
    """/readyz is 503 while the process drains."""
    admin = await start()
    admin.ready = False
    status, _, body = await admin.get("/readyz")
    assert (status, json.loads(body)["ready"]) == (503, False)


async def test_metrics_are_prometheus_text(start: Start) -> None:
    """Prometheus's own parser can read /metrics, which has the counts and the serving services."""
    admin = await start()
    admin.services = {SERVICE: False}
    admin.metrics.call_began("/a.B/C")
    admin.metrics.call_ended("/a.B/C", "OK", "", 0.0002)
    status, headers, body = await admin.get("/metrics")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert (
        status,
        headers["content-type"],
        samples["phoenix_gateway_calls_total", "", "/a.B/C", "OK"],
        samples["phoenix_gateway_service_serving", SERVICE],
    ) == (200, "text/plain; version=0.0.4; charset=utf-8", 1.0, 0.0)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/Metrics", "/healthz/../metrics", "/%6detrics", "/debug/pprof"])
async def test_unknown_path_is_404(start: Start, path: str) -> None:
    """Only the three paths exist, as they are written."""
    admin = await start()
    assert (await admin.get(path))[::2] == (404, b'{"error":"not_found"}')


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


async def test_trouble_is_500_without_its_text(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """What a page raises reaches neither the client nor the log with its text."""
    admin = await start()
    admin.broken = RuntimeError("s3cr3t-in-text")
    answers = [await admin.get("/readyz"), await admin.get("/metrics")]
    captured = capsys.readouterr()
    assert [(status, body) for status, _, body in answers] == [(500, b'{"error":"internal"}')] * 2
    assert "s3cr3t" not in captured.out + captured.err


async def test_channelz_shows_the_servers_of_the_process(start: Start) -> None:
    """Its pages are the answers of grpc's own service, with the address of each gRPC listener."""
    main = grpc.aio.server()
    main.add_insecure_port("127.0.0.1:0")
    await main.start()
    admin = await start()
    status, headers, body = await admin.get("/channelz/GetServers")
    servers = json.loads(body)["server"]
    found = [one for one in servers if any("127.0.0.1" in listener["name"] for listener in one["listenSocket"])]
    server_id = found[0]["ref"]["serverId"]
    same = await admin.get(f"/channelz/GetServer?server_id={server_id}")
    await main.stop(0)
    assert (200, "application/json") == (status, headers["content-type"])
    assert found[0]["ref"] == json.loads(same[2])["server"]["ref"]


@pytest.mark.parametrize(
    "page", ["GetServer?server_id=999999", "GetServer?server_id=x", "GetServers?server=1", "Nothing", "", "__init__"]
)
async def test_what_channelz_does_not_know_is_not_found(page: str, start: Start) -> None:
    """An id, a field or a method that is not there."""
    admin = await start()
    assert 404 == (await admin.get(f"/channelz/{page}"))[0]


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
