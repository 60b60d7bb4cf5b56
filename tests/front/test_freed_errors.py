"""A failed call leaves nothing behind that only a collection would free: its request may be large.

Not so on the `grpc` front: grpc.aio keeps the exception that it aborts a call with, in a cycle with its own context.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from gateway import errors
from gateway.actions.shared.call import Call
from tests.front.conftest import Open, endpoint


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
