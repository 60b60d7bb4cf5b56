"""Handlers that note what happens to them, for tests of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.struct_pb2 import Struct

from gateway.actions.shared.call import Call
from gateway.front.endpoint import Endpoint
from gateway.front.http2.engine import Engine, EngineSettings

UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 2, 3, 4, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 12, 13, 14
MakeEngine = Callable[[EngineSettings], Engine]


def endpoint(path: str, handler: Any, *, client: bool = False, server: bool = False) -> Endpoint:
    return Endpoint(path=path, handler=handler, request_class=Struct, client_streaming=client, server_streaming=server)


class Handlers:
    """Handlers that note what happens to them."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.began = asyncio.Event()
        self.sent = 0

    async def empty(self, request: Struct, call: Call) -> bytes:
        return b""

    async def hang(self, request: Struct, call: Call) -> bytes:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def short(self, request: Struct, call: Call) -> bytes:
        await asyncio.sleep(0.2)
        return b""

    async def long(self, request: Struct, call: Call) -> bytes:
        await asyncio.sleep(0.5)
        return b""

    async def pour(self, request: Struct, call: Call) -> AsyncIterator[bytes]:
        while True:
            self.sent += 1
            yield bytes(10_000)

    async def silent(self, request: Struct, call: Call) -> AsyncIterator[bytes]:
        self.began.set()
        await asyncio.Event().wait()
        yield b""

    async def raises_late(self, request: Struct, call: Call) -> AsyncIterator[bytes]:
        yield b""
        raise ValueError("secret")

    async def raises(self, request: Struct, call: Call) -> bytes:
        raise ValueError("secret")

    async def count(self, requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield b""

    async def reads_none(self, requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[bytes]:
        self.began.set()
        await asyncio.Event().wait()
        yield b""

    def all(self) -> list[Endpoint]:
        return [
            endpoint("/t/Empty", self.empty),
            endpoint("/t/Hang", self.hang),
            endpoint("/t/Short", self.short),
            endpoint("/t/Long", self.long),
            endpoint("/t/Pour", self.pour, server=True),
            endpoint("/t/Silent", self.silent, server=True),
            endpoint("/t/Late", self.raises_late, server=True),
            endpoint("/t/Raises", self.raises),
            endpoint("/t/Count", self.count, client=True, server=True),
            endpoint("/t/ReadsNone", self.reads_none, client=True, server=True),
        ]
