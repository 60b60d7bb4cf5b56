"""Server reflection in both versions of its protocol, as ordinary handlers.

grpcurl and buf curl ask for the newer package first. The messages of both are identical in binary form, so one
implementation serves both names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2

from gateway.actions.shared.call import Call
from gateway.front.endpoint import Endpoint

_NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class ReflectionService:
    """Answers which services there are and what their messages contain."""

    def __init__(self, service_names: Iterable[str]) -> None:
        self._inner = reflection.aio.ReflectionServicer(sorted({*service_names, *_NAMES}))

    def ServerReflectionInfo(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        """Answer each request of the stream in order."""
        inner: Any = self._inner
        answers: AsyncIterator[Any] = inner.ServerReflectionInfo(requests, None)
        return answers


def reflection_endpoints(service_names: Iterable[str]) -> list[Endpoint]:
    """Return the endpoints of both versions."""
    service = ReflectionService(service_names)
    return [
        Endpoint(
            path=f"/{name}/ServerReflectionInfo",
            handler=service.ServerReflectionInfo,
            request_class=reflection_pb2.ServerReflectionRequest,
            client_streaming=True,
            server_streaming=True,
        )
        for name in _NAMES
    ]
