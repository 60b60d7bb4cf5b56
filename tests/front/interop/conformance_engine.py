"""Engines that show a handler the headers of its request and send the metadata and the details that it wants.

The gateway's handlers do neither, so it is made at the edge of the engine: all between it and the handler is the
front's own. A handler finds its Exchange by the request id, which is given to the call here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.front.http2.engine import Engine, EngineSettings, Receiver
from gateway.front.http2.h2_engine import H2Engine
from gateway.front.http2.nghttp2_engine import Nghttp2Engine
from gateway.front.http2.wire import Header


@dataclass(kw_only=True)
class Exchange:
    """One call. `held`: response headers that wait for the first message, as the handler may still add to them."""

    received: Sequence[Header]
    headers: list[Header] = field(default_factory=list)
    trailers: list[Header] = field(default_factory=list)
    details: bytes | None = None
    held: list[Header] | None = None


BY_REQUEST_ID: dict[str, Exchange] = {}
_NUMBERS = itertools.count()
_RESPONSE = (b":status", b"content-type", b"grpc-accept-encoding")


class _Listening:
    def __init__(self, receiver: Receiver, exchanges: dict[int, Exchange]) -> None:
        self._receiver = receiver
        self._exchanges = exchanges

    def on_request(self, stream_id: int, headers: Sequence[Header], *, end: bool) -> None:
        request_id = f"exchange-{next(_NUMBERS)}"
        self._exchanges[stream_id] = BY_REQUEST_ID[request_id] = Exchange(received=headers)
        self._receiver.on_request(stream_id, [*headers, (b"x-request-id", request_id.encode())], end=end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)


class _Exchanging:
    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)  # type: ignore[call-arg]  # the engine's
        self._exchanges: dict[int, Exchange] = {}

    def receive(self, data: bytes, receiver: Receiver) -> None:
        super().receive(data, _Listening(receiver, self._exchanges))  # type: ignore[misc]

    def respond(self, stream_id: int, headers: Sequence[Header], *, end: bool = False) -> None:
        trailers = [one for one in headers if end and one[0] not in _RESPONSE]
        if end and not trailers:  # no gRPC answer
            super().respond(stream_id, headers, end=True)  # type: ignore[misc]
            return
        self._exchanges[stream_id].held = [one for one in headers if one not in trailers]
        if end:
            self.finish(stream_id, trailers)

    def send(self, stream_id: int, data: bytes) -> None:
        self._release(stream_id)
        super().send(stream_id, data)  # type: ignore[misc]

    def finish(self, stream_id: int, trailers: Sequence[Header]) -> None:
        self._release(stream_id)
        exchange = self._exchanges[stream_id]
        if exchange.details is not None:
            trailers = [one for one in trailers if one[0] != b"grpc-status-details-bin"]
            trailers.append((b"grpc-status-details-bin", exchange.details))
        super().finish(stream_id, [*trailers, *exchange.trailers])  # type: ignore[misc]

    def _release(self, stream_id: int) -> None:
        exchange = self._exchanges[stream_id]
        if exchange.held is not None:
            held, exchange.held = exchange.held, None
            super().respond(stream_id, [*held, *exchange.headers])  # type: ignore[misc]


class ExchangingNghttp2(_Exchanging, Nghttp2Engine):
    """libnghttp2 that does so."""


class ExchangingH2(_Exchanging, H2Engine):
    """h2 that does so."""


ENGINES: dict[str, Callable[[EngineSettings], Engine]] = {"nghttp2": ExchangingNghttp2, "h2": ExchangingH2}
