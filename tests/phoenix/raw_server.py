"""A server of raw bytes: the test sets what each connection does, and reads what arrived."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Peer:
    """One accepted connection; `requests` of the server grows by each request read through it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: "RawServer"

    async def request(self) -> bytes:
        """Read one whole request: head and the body that its content-length announces."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        whole = head + (await self.reader.readexactly(length) if length else b"")
        self.server.requests.append(whole)
        self.server.arrived.set()
        return whole

    async def answer(self, raw: bytes) -> None:
        """Send these bytes as they are."""
        self.writer.write(raw)
        await self.writer.drain()

    def reset(self) -> None:
        """Drop the connection the hard way."""
        self.writer.transport.abort()

    async def until_gone(self) -> None:
        """Hang until the other side closes."""
        await self.reader.read()


Behaviour = Callable[[Peer], Awaitable[None]]


@dataclass(slots=True)
class RawServer:
    """What the server saw, and where it listens."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def request_lines(self) -> list[str]:
        """The first line of each request."""
        return [request.split(b"\r\n", 1)[0].decode("latin-1") for request in self.requests]


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A plain HTTP/1.1 answer; underscores in header names become hyphens."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def always(raw: bytes) -> Behaviour:
    """Answer every request of the connection with these bytes."""

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(raw)

    return behave


@asynccontextmanager
async def raw_server(*behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Listen on a free loopback port; the n-th connection gets the n-th behaviour, later ones the last."""
    server = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = behaviours[min(server.connections, len(behaviours) - 1)]
        server.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await behaviour(Peer(reader, writer, server))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            writer.close()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
