"""Accepting connections: a listening socket that no longer works is reported, and a passing failure is not."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Iterator

import pytest

from gateway.front.http2.acceptor import Acceptor
from gateway.resilience.supervision import UnexpectedEnd, unexpected_end_of


class Line(asyncio.Protocol):
    """A protocol that greets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
async def ends() -> list[UnexpectedEnd]:
    """The ends of tasks that the loop was informed of."""
    found: list[UnexpectedEnd] = []

    def hear(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        end = unexpected_end_of(context)
        assert end is not None
        found.append(end)

    asyncio.get_running_loop().set_exception_handler(hear)
    return found


async def greeting(listening: socket.socket) -> bytes:
    """Connect and return what comes first."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        try:
            return await reader.read(5)
        finally:
            writer.close()


async def test_a_socket_that_cannot_accept_any_more_is_fatal(
    listening: socket.socket, ends: list[UnexpectedEnd]
) -> None:
    """No caller can connect, and a health check on an old connection would not notice."""
    acceptor = Acceptor(listening, None, Line, lambda handshakes: True, 1.0)
    assert await greeting(listening) == b"hello"
    listening.shutdown(socket.SHUT_RDWR)
    await asyncio.sleep(0.3)
    assert [(one.name, type(one.error), one.is_fatal) for one in ends] == [("connections of the front", OSError, True)]
    await acceptor.close()


async def test_an_accept_without_a_free_descriptor_is_tried_again(
    listening: socket.socket, ends: list[UnexpectedEnd]
) -> None:
    """The connection waits until a descriptor is free."""
    loop = asyncio.get_running_loop()
    acceptor = Acceptor(listening, None, Line, lambda handshakes: True, 1.0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        client.setblocking(False)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            await loop.sock_connect(client, listening.getsockname())
            await asyncio.sleep(0.3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        async with asyncio.timeout(5):
            assert await loop.sock_recv(client, 5) == b"hello"
    assert ends == []
    await acceptor.close()
