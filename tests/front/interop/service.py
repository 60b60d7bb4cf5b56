"""gRPC's interop TestService, as handlers that any front can serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.rpc import code_pb2

from gateway.actions.shared.call import Call
from gateway.errors import GatewayError
from gateway.front.endpoint import Endpoint, endpoints_of
from gateway.front.reflection import reflection_endpoints
from tests.front.interop.protos import message, service

NAME = "grpc.testing.TestService"
PROTO = "testing.proto"


class EchoedStatus(GatewayError):
    """Ends a call with the status that its request asks for."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code_pb2.Code.Name(code)  # type: ignore[misc]  # one class for all codes
        super().__init__(message)


class TestService:
    """Answers as the interop cases expect."""

    __test__ = False

    def __init__(self) -> None:
        self.service = service(PROTO, NAME)
        self._empty = message(PROTO, "grpc.testing.Empty")
        self._simple = message(PROTO, "grpc.testing.SimpleResponse")
        self._output = message(PROTO, "grpc.testing.StreamingOutputCallResponse")
        self._input = message(PROTO, "grpc.testing.StreamingInputCallResponse")

    async def EmptyCall(self, request: Any, call: Call) -> Any:
        return self._empty()

    async def UnaryCall(self, request: Any, call: Call) -> Any:
        _raise_wanted(request)
        answer = self._simple(server_id="one" if request.fill_server_id else "")
        answer.payload.body = bytes(request.response_size)
        return answer

    async def StreamingOutputCall(self, request: Any, call: Call) -> AsyncIterator[Any]:
        for wanted in request.response_parameters:
            await asyncio.sleep(wanted.interval_us / 1e6)
            answer = self._output()
            answer.payload.body = bytes(wanted.size)
            yield answer
        _raise_wanted(request)

    async def StreamingInputCall(self, requests: AsyncIterator[Any], call: Call) -> Any:
        size = 0
        async for request in requests:
            size += len(request.payload.body)
        return self._input(aggregated_payload_size=size)

    async def FullDuplexCall(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        async for request in requests:
            async for answer in self.StreamingOutputCall(request, call):
                yield answer


def _raise_wanted(request: Any) -> None:
    if request.response_status.code:
        raise EchoedStatus(request.response_status.code, request.response_status.message)


def endpoints() -> list[Endpoint]:
    """Return the endpoints of the service, and reflection for tools that ask for it."""
    servicer = TestService()
    return endpoints_of(servicer, servicer.service.methods, NAME) + reflection_endpoints([NAME])
