"""A handler that answers with its request, and calls that fail."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct, Value

from gateway.actions.shared.call import Call

HELLO = Struct(fields={"hello": Value(string_value="there")})


async def echo(request: Struct, call: Call) -> Struct:
    return request


async def failure(multicallable: Any, request: bytes = b"", **options: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await multicallable(request, **options)
    return raised.value
