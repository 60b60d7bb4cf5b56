"""A front on a real socket with small handlers behind it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from gateway.actions.shared.call import Call
from gateway.front.endpoint import Endpoint
from gateway.front.grpc_aio import Front
from gateway.front.http2.engine import EngineSettings
from gateway.front.http2.h2_engine import H2Engine
from gateway.front.http2.nghttp2_engine import Nghttp2Engine
from gateway.front.http2.server import Http2Server
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


@pytest.fixture(params=["grpc", "nghttp2", "h2"])
async def serve(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Start a front with these endpoints and links; everything ends with the test. Each test runs on both fronts."""
    servers: list[Any] = []
    channels: list[grpc.aio.Channel] = []

    async def start(
        endpoints: Sequence[Endpoint], links: Sequence[Middleware] = (), *, service_config: str = "{}"
    ) -> Served:
        unexpected: list[BaseException] = []
        options = [("grpc.service_config", service_config)]

        def note(call: Call, error: BaseException) -> None:
            unexpected.append(error)

        if request.param != "grpc":
            engine = Nghttp2Engine if request.param == "nghttp2" else H2Engine
            http2 = Http2Server(
                {one.path: one for one in endpoints},
                Chain(links),
                SystemClock(),
                note,
                lambda: engine(EngineSettings()),
            )
            listening = socket.create_server(("127.0.0.1", 0))
            await http2.listen(listening, None)
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{listening.getsockname()[1]}", options=options)
            servers.append(http2)
            channels.append(channel)
            return Served(channel=channel, unexpected=unexpected)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Front(endpoints, Chain(links), SystemClock(), note),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
        servers.append(server)
        channels.append(channel)
        return Served(channel=channel, unexpected=unexpected)

    yield start
    for channel in channels:
        await channel.close()
    for server in servers:
        await (server.stop() if isinstance(server, Http2Server) else server.stop(0))
