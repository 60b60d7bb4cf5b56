"""Engines that send two headers of a request back, as gRPC's interop cases demand of a server.

The gateway's handlers set no metadata. So the echo is made at the edge of the engine, and everything between the engine
and the handler is the front's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.front.http2.engine import EngineSettings, Receiver
from gateway.front.http2.h2_engine import H2Engine
from gateway.front.http2.nghttp2_engine import Nghttp2Engine
from gateway.front.http2.wire import Header

INITIAL = b"x-grpc-test-echo-initial"
TRAILING = b"x-grpc-test-echo-trailing-bin"


class _Listening:
    """Hears requests before the connection does."""

    def __init__(self, receiver: Receiver, requests: dict[int, Sequence[Header]]) -> None:
        self._receiver = receiver
        self._requests = requests

    def on_request(self, stream_id: int, headers: Sequence[Header], *, end: bool) -> None:
        self._requests[stream_id] = headers
        self._receiver.on_request(stream_id, headers, end=end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)


class _Echo:
    """What an engine does besides."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)  # type: ignore[call-arg]  # the engine's
        self._requests: dict[int, Sequence[Header]] = {}

    def receive(self, data: bytes, receiver: Receiver) -> None:
        super().receive(data, _Listening(receiver, self._requests))  # type: ignore[misc]

    def respond(self, stream_id: int, headers: Sequence[Header], *, end: bool = False) -> None:
        echoed = self._echoed(stream_id, INITIAL) + (self._echoed(stream_id, TRAILING) if end else [])
        super().respond(stream_id, [*headers, *echoed], end=end)  # type: ignore[misc]

    def finish(self, stream_id: int, trailers: Sequence[Header]) -> None:
        super().finish(stream_id, [*trailers, *self._echoed(stream_id, TRAILING)])  # type: ignore[misc]

    def _echoed(self, stream_id: int, wanted: bytes) -> list[Header]:
        return [(name, value) for name, value in self._requests[stream_id] if name == wanted]


class EchoingNghttp2(_Echo, Nghttp2Engine):
    """libnghttp2 with the echo."""


class EchoingH2(_Echo, H2Engine):
    """h2 with the echo."""
