"""A front on a real socket with small handlers behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from gateway.actions.shared.call import Call
from gateway.front.grpc_aio import Endpoint, Front
from gateway.interceptors.chain import Chain, Middleware
from gateway.resilience.clock import SystemClock

Open = Callable[..., Awaitable["Served"]]


@dataclass
class Served:
    """A server, a channel to it, and what it noted of unexpected exceptions."""

    channel: Any
    unexpected: list[BaseException] = field(default_factory=list)

    def unary(self, path: str) -> Any:
        return self.channel.unary_unary(path)


def endpoint(path: str, handler: object, *, client: bool = False, server: bool = False) -> Endpoint:
    return Endpoint(
        path=path,
        handler=handler,  # type: ignore[arg-type]
        request_class=Struct,
        client_streaming=client,
        server_streaming=server,
    )


@pytest.fixture
async def serve() -> AsyncIterator[Open]:
    """Start a front with these endpoints and links; everything ends with the test."""
    servers: list[grpc.aio.Server] = []
    channels: list[grpc.aio.Channel] = []

    async def start(endpoints: Sequence[Endpoint], links: Sequence[Middleware] = ()) -> Served:
        unexpected: list[BaseException] = []

        def note(call: Call, error: BaseException) -> None:
            unexpected.append(error)

        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Front(endpoints, Chain(links), SystemClock(), note),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        servers.append(server)
        channels.append(channel)
        return Served(channel=channel, unexpected=unexpected)

    yield start
    for channel in channels:
        await channel.close()
    for server in servers:
        await server.stop(0)
