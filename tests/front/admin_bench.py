"""An admin port over small dependencies, and raw requests to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from gateway.front.admin import AdminServer, AdminSettings, Readiness
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
