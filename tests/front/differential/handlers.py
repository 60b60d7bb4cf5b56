"""Handlers of every shape that do what their request says, so that a generated call reaches each way to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.struct_pb2 import Struct

from gateway.actions.shared.call import Call
from gateway.errors import FieldFault, InvalidField, OutcomeUnknown, PhoenixRateLimited, StoreUnavailable
from gateway.front.endpoint import Endpoint

ERRORS = ("invalid", "limited", "unknown", "store", "bug")


def _raise_wanted(request: Struct) -> None:
    if "error" not in request.fields:
        return
    match request.fields["error"].string_value:
        case "invalid":
            raise InvalidField([FieldFault(field="a.b", description="is \u00fc\u0148\u00ef and 100 % wrong")])
        case "limited":
            raise PhoenixRateLimited(retry_after_s=1.5)
        case "unknown":
            raise OutcomeUnknown()
        case "store":
            raise StoreUnavailable()
        case _:
            raise ValueError("never shown")


def _padded(size: float) -> bytes:
    answer = Struct()
    answer["pad"] = "y" * int(size)
    return answer.SerializeToString()


async def echo(request: Struct, call: Call) -> Struct:
    _raise_wanted(request)
    return request


async def sized(request: Struct, call: Call) -> bytes:
    return _padded(request.fields["size"].number_value)


async def hang(request: Struct, call: Call) -> bytes:
    await asyncio.Event().wait()
    return b""


async def stream(request: Struct, call: Call) -> AsyncIterator[bytes]:
    for _ in range(int(request.fields["count"].number_value)):
        yield _padded(request.fields["size"].number_value)
    _raise_wanted(request)


async def total(requests: AsyncIterator[Struct], call: Call) -> Struct:
    answer = Struct()
    answer["count"] = 0
    async for request in requests:
        _raise_wanted(request)
        answer["count"] += 1  # type: ignore[operator]
    return answer


async def early(requests: AsyncIterator[Struct], call: Call) -> Struct:
    """Answers without reading anything."""
    return Struct()


async def each(requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[Struct]:
    async for request in requests:
        _raise_wanted(request)
        yield request


def _endpoint(name: str, handler: object, *, client: bool = False, server: bool = False) -> Endpoint:
    return Endpoint(
        path=f"/t.T/{name}",
        handler=handler,  # type: ignore[arg-type]
        request_class=Struct,
        client_streaming=client,
        server_streaming=server,
    )


ENDPOINTS = (
    _endpoint("Echo", echo),
    _endpoint("Sized", sized),
    _endpoint("Hang", hang),
    _endpoint("Stream", stream, server=True),
    _endpoint("Total", total, client=True),
    _endpoint("Early", early, client=True),
    _endpoint("Each", each, client=True, server=True),
)
