"""A failed call leaves nothing behind that only a collection would free: its request may be large.

Not so on the `grpc` front: grpc.aio keeps the exception that it aborts a call with, in a cycle with its own context.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from bench.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    frame,
    grpc_message,
    request_headers,
    settings,
)
from gateway import errors
from gateway.actions.shared.call import Call
from gateway.front.http2.engine import EngineSettings
from gateway.front.http2.server import Http2Server
from gateway.front.http2.stream import Stream
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import SystemClock
from tests.front.abuse.subject import ENGINES
from tests.front.conftest import Open, endpoint

CANCEL = struct.pack(">I", 8)


def call_and_reset(stream: int, path: str) -> bytes:
    """Return the frames of a whole call and of its reset."""
    headers = frame(HEADERS, END_HEADERS, stream, request_headers("front", path, ()))
    return headers + frame(DATA, END_STREAM, stream, grpc_message(b"")) + frame(RST_STREAM, 0, stream, CANCEL)


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("serve", ["nghttp2", "h2"], indirect=True)
async def test_an_error_is_freed_with_its_call(serve: Open) -> None:
    """With it go the frames of its traceback, and what they hold."""
    raised: list[weakref.ref[BaseException]] = []

    def failure() -> errors.GatewayError:
        error = errors.PhoenixNotFound()
        raised.append(weakref.ref(error))
        return error

    async def one(request: Struct, call: Call) -> bytes:
        raise failure()

    async def many(request: Struct, call: Call) -> AsyncIterator[bytes]:
        yield b""
        raise failure()

    served = await serve([endpoint("/t.T/One", one), endpoint("/t.T/Many", many, server=True)])
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await served.unary("/t.T/One")(b"", timeout=10)
        with pytest.raises(grpc.aio.AioRpcError):
            async for _answer in served.channel.unary_stream("/t.T/Many")(b"", timeout=10):
                pass
    for _ in range(20):
        await asyncio.sleep(0.01)  # the server's task ends after its answer has left
    assert [one() for one in raised] == [None] * 6


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("engine", ["nghttp2", "h2"])
async def test_a_call_that_is_reset_at_once_is_freed_at_once(engine: str) -> None:
    """A client that resets thousands of calls must not make the collector stop the loop for others."""

    async def one(request: Struct, call: Call) -> bytes:
        return b""

    gc.collect()
    server = Http2Server(
        {"/t.T/One": endpoint("/t.T/One", one)},
        Chain([]),
        SystemClock(),
        lambda call, error: None,
        lambda: ENGINES[engine](EngineSettings()),
    )
    listening = socket.create_server(("127.0.0.1", 0))
    await server.listen(listening, None)
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(PREFACE + settings({}) + b"".join(call_and_reset(1 + 2 * number, "/t.T/One") for number in range(200)))
    writer.write(frame(PING, 0, 0, bytes(8)))
    while not (await reader.read(65536)).endswith(bytes(8)):
        pass
    await asyncio.sleep(0.05)
    left = [one for one in gc.get_objects() if isinstance(one, Stream)]
    writer.close()
    await server.stop()
    assert left == []
