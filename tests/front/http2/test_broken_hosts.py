"""A host whose connection was ended for breaking HTTP/2 waits with its next one; nobody else does. Both engines."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    frame,
    request_headers,
    settings,
)
from gateway.front.http2.broken_hosts import MOST, BrokenHosts, host_of
from gateway.front.http2.engine import ENHANCE_YOUR_CALM, PROTOCOL_ERROR
from gateway.front.http2.server import Http2Server, ServerBounds
from tests.certificates import Authority
from tests.front.http2.handlers import Handlers, MakeEngine
from tests.front.http2.peer import connected, serving

WAITS = ServerBounds(broken_wait_s=3600.0)
"""Longer than a test: what is read at all did not wait."""
HELLO = PREFACE + settings({})
CALL = frame(HEADERS, END_HEADERS, 1, request_headers("x", "/t/Count"))
BREAKS = {
    "no HTTP/2": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 4,
    "a frame where it may not be": HELLO + frame(PING, 0, 1, bytes(8)),
    "a flood of empty frames": HELLO + CALL + frame(DATA, 0, 1) * 2000,
    "headers without end": HELLO + frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 500,
    "pings without calls": HELLO + frame(PING, 0, 0, bytes(8)) * 20,
    "a fault after a goodbye that accuses of it": HELLO
    + frame(GOAWAY, 0, 0, struct.pack(">II", 0, PROTOCOL_ERROR))
    + frame(PING, 0, 1, bytes(8)),
    "a flood after a goodbye that accuses of it": HELLO
    + CALL
    + frame(GOAWAY, 0, 0, struct.pack(">II", 0, ENHANCE_YOUR_CALM))
    + frame(DATA, 0, 1) * 2000,
    "pings after a goodbye that accuses of them": HELLO
    + CALL
    + frame(GOAWAY, 0, 0, struct.pack(">II", 0, ENHANCE_YOUR_CALM))
    + frame(PING, 0, 0, bytes(8)) * 20,
    "a flood after a goodbye": HELLO + CALL + frame(GOAWAY, 0, 0, bytes(8)) + frame(DATA, 0, 1) * 2000,
}
LEAVES = {
    "a probe without a byte": b"",
    "half a preface": PREFACE[:10],
    "a whole connection": HELLO + CALL,
    "a goodbye": HELLO + frame(GOAWAY, 0, 0, bytes(8)),
    "a goodbye that accuses": HELLO + frame(GOAWAY, 0, 0, struct.pack(">II", 0, ENHANCE_YOUR_CALM)),
}


@asynccontextmanager
async def line(port: int, **how: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect; the connection is reset at the end if it is still open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **how)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def greeted(reader: asyncio.StreamReader, within_s: float = 5.0) -> bool:
    """Whether the settings come, which the server sends as soon as it serves a connection."""
    try:
        async with asyncio.timeout(within_s):
            return (await reader.readexactly(9))[3] == SETTINGS
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return False


async def break_one(port: int, data: bytes = BREAKS["no HTTP/2"], **how: Any) -> None:
    """Have a connection ended."""
    async with line(port, **how) as (reader, writer):
        assert await greeted(reader)
        writer.write(data)
        try:
            async with asyncio.timeout(5):
                await reader.read()
        except ConnectionError:
            pass  # it was closed before all of it was read


async def until(reached: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def context_of(folder: Path) -> dict[str, ssl.SSLContext]:
    """Return the contexts of both sides."""
    authority = Authority()
    certificate, key = authority.issue("localhost").write(folder, "server")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for one in (server, client):
        one.set_alpn_protocols(["h2"])
    return {"server": server, "client": client}


async def listen(server: Http2Server, listening: socket.socket, context: ssl.SSLContext | None = None) -> Any:
    """Listen here too; return the address."""
    await server.listen(listening, context)
    return listening.getsockname()


@pytest.mark.parametrize("data", BREAKS.values(), ids=BREAKS)
async def test_the_next_connection_of_a_broken_host_waits(engine: MakeEngine, data: bytes) -> None:
    """Nothing is read of it, and nothing written, whichever way the first one was broken."""
    async with serving(Handlers().all(), engine, bounds=WAITS) as (_, port):
        await break_one(port, data)
        async with line(port) as (reader, writer):
            writer.write(HELLO)
            assert not await greeted(reader, 0.2)


async def test_the_wait_ends(engine: MakeEngine) -> None:
    """The connection is served as any other, and so is one that opens later."""
    async with serving(Handlers().all(), engine, bounds=ServerBounds(broken_wait_s=0.4)) as (_, port):
        await break_one(port)
        began = time.monotonic()
        async with connected(port) as peer:
            assert 0 == await peer.answered(peer.call("/t/Empty", b""))
        waited_s = time.monotonic() - began
        async with line(port) as (reader, _):
            assert await greeted(reader, 0.3)
    assert 0.35 < waited_s < 3.0


async def test_open_connections_go_on(engine: MakeEngine) -> None:
    """Of the same host: its calls are answered."""
    async with serving(Handlers().all(), engine, bounds=WAITS) as (_, port), connected(port) as peer:
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))
        await break_one(port)
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))


async def test_another_host_does_not_wait(engine: MakeEngine) -> None:
    """127.0.0.2 is one."""
    async with serving(Handlers().all(), engine, bounds=WAITS) as (_, port):
        await break_one(port)
        async with line(port, local_addr=("127.0.0.2", 0)) as (reader, _):
            assert await greeted(reader)
        async with line(port) as (reader, _):
            assert not await greeted(reader, 0.2)


async def test_a_unix_socket_waits_never(engine: MakeEngine, tmp_path: Path) -> None:
    """Neither after a break of its own nor after one elsewhere: all its clients are one caller."""
    async with serving(Handlers().all(), engine, bounds=WAITS) as (server, port):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / "front.sock"))
        listening.listen()
        path = await listen(server, listening)
        await break_one(port)
        for _ in range(2):
            reader, writer = await asyncio.open_unix_connection(path)
            assert await greeted(reader)
            writer.write(BREAKS["no HTTP/2"])
            await reader.read()
            writer.close()


@pytest.mark.parametrize("data", LEAVES.values(), ids=LEAVES)
@pytest.mark.parametrize("aborts", [False, True], ids=["closes", "resets"])
async def test_whoever_only_leaves_does_not_wait(engine: MakeEngine, data: bytes, aborts: bool) -> None:
    """Balancers connect and close without a byte each second, and clients leave in the middle of a call."""
    async with serving(Handlers().all(), engine, bounds=WAITS) as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            await until(lambda: len(server._connections) == 1)
            client.sendall(data)
            if aborts:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await until(lambda: not server._connections)
        async with line(port) as (reader, _):
            assert await greeted(reader)


async def test_what_waits_counts_as_a_connection(engine: MakeEngine) -> None:
    """It holds a file descriptor: whoever comes beyond the bound is hung up on, of whatever host."""
    bounds = ServerBounds(broken_wait_s=3600.0, connections=2)
    async with serving(Handlers().all(), engine, bounds=bounds) as (server, port):
        await break_one(port)
        await until(lambda: not server._connections)
        async with line(port), line(port), line(port, local_addr=("127.0.0.2", 0)) as (reader, _):
            async with asyncio.timeout(5):
                assert b"" == await reader.read()


@pytest.mark.parametrize("how", ["stop", "drain"])
async def test_the_end_of_the_server_ends_a_wait(engine: MakeEngine, how: str) -> None:
    """At once, and no task is left."""
    async with serving(Handlers().all(), engine, bounds=WAITS) as (server, port):
        await break_one(port)
        async with line(port) as (reader, _):
            assert not await greeted(reader, 0.1)
            (waiting,) = server._acceptors[0]._handshakes
            began = time.monotonic()
            await (server.stop() if how == "stop" else server.drain(5.0))
            async with asyncio.timeout(5):
                assert b"" == await reader.read()
            assert time.monotonic() - began < 2.0
            assert waiting.done()
            assert not server._acceptors[0]._handshakes


async def test_tls_waits_before_its_handshake_which_then_has_its_time(engine: MakeEngine, tmp_path: Path) -> None:
    """The wait takes nothing from the time for it. Bytes that are no TLS, and clients that refuse, break nothing."""
    contexts = context_of(tmp_path)
    bounds = ServerBounds(broken_wait_s=0.8, handshake_s=0.7)
    async with serving(Handlers().all(), engine, bounds=bounds) as (server, _):
        _, port = await listen(server, socket.create_server(("127.0.0.1", 0)), contexts["server"])
        for context, data in ((None, b"GET / HTTP/1.1\r\n\r\n"), (ssl.create_default_context(), b"")):
            try:
                async with line(port, ssl=context) as (reader, writer):
                    writer.write(data)
                    await reader.read()
            except (ssl.SSLError, ConnectionError):
                pass
        await until(lambda: not any(one._handshakes for one in server._acceptors))
        assert not server.broken_hosts._broke_at
        await break_one(port, BREAKS["a flood of empty frames"], ssl=contexts["client"])
        began = time.monotonic()
        async with line(port, ssl=contexts["client"]) as (reader, _):
            assert await greeted(reader)
        assert 0.7 < time.monotonic() - began < 5.0


def test_a_host_is_an_address_or_a_network_that_one_client_has() -> None:
    """A client has a /64 of IPv6 addresses; IPv4 addresses stay apart on a listener for both."""
    assert ["192.0.2.7", "192.0.2.7", ""] == [
        host_of(one) for one in (("192.0.2.7", 1), ("::ffff:192.0.2.7", 1, 0, 0), "/run/front.sock")
    ]
    first, second, other = (host_of((one, 1, 0, 0)) for one in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"))
    assert first == second != other
    assert host_of(("fe80::1%lo", 1, 0, 1)) != ""


def test_many_broken_hosts_take_little_memory() -> None:
    """The ones that broke longest ago are forgotten first; none waits without a time to wait."""
    hosts, never = BrokenHosts(0.5), BrokenHosts(0.0)
    for number in range(MOST):
        hosts.note(str(number), 1.0)
        never.note(str(number), 1.0)
    hosts.note("0", 1.1)
    hosts.note("more", 1.1)
    assert [0.5, 0.0, 0.5, 0.5] == [hosts.wait_s(one, 1.2) for one in ("0", "1", "2", "more")]
    assert [0.5, 0.0] == [hosts.wait_s("0", now) for now in (1.59, 1.6)]
    assert 0.0 == never.wait_s("2", 1.0)
    assert MOST == len(hosts._broke_at)
