"""Makes calls and streams: the part that uses grpc, once for threads (`Calls`) and once for asyncio (`AsyncCalls`).

What both have in common is in rules.py, generations.py and `Settings`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from phoenix_gateway_client import rules
from phoenix_gateway_client.diagnosis import diagnose
from phoenix_gateway_client.errors import GatewayError
from phoenix_gateway_client.generations import Generation, Generations
from phoenix_gateway_client.rules import Metadata, Method, Request, Response
from phoenix_gateway_client.tls import LoadedTls, Tls

_DIAGNOSIS_LASTS_S = 1.0
_NEVER_SENT = ("failed to connect to all addresses", "connections to all backends failing", "DNS resolution failed")

__all__ = ["AsyncCalls", "Calls", "Metadata", "Method", "Settings"]


@dataclass
class Settings:
    """Where the gateway is, and how it is called. `timeout`: seconds of each call that is no stream."""

    target: str
    tls: Tls | None = None
    token: str = field(default="", repr=False)
    timeout: float | None = None
    interceptors: Sequence[Any] = ()
    _known: tuple[float, GatewayError] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.token and (self.tls is not None or not rules.is_local(self.target)):
            raise ValueError("token: is for a gateway on this machine without TLS; elsewhere, use a client certificate")

    def metadata(self, given: Metadata) -> tuple[list[tuple[str, str | bytes]], str]:
        """Return the metadata of a call and its request id."""
        made, request_id = rules.with_request_id(given)
        return ([*made, ("authorization", f"Bearer {self.token}")] if self.token else made), request_id

    def timeout_of(self, method: str, given: float | None) -> float | None:
        """Return the seconds that a call may take: as given, as set for all, or as published."""
        return next((one for one in (given, self.timeout) if one is not None), rules.default_timeout(method))

    def failure(self, error: Any, method: str, request_id: str) -> GatewayError:
        """Return the exception of a failed call, without its cause if there was no connection."""
        trailing = error.trailing_metadata() or ()
        return rules.failure(error.code().name, error.details() or "", trailing, method=method, request_id=request_id)

    def needs_cause(self, failed: GatewayError) -> bool:
        """Whether the failure has no reason of the gateway's and may be one of the connection."""
        return failed.code == "UNAVAILABLE" and not failed.reason

    def cause(self, failed: GatewayError) -> GatewayError:
        """Return the exception that names why there is no connection. It connects, so it takes some time."""
        now = time.monotonic()
        if self._known is None or now > self._known[0]:
            self._known = (now + _DIAGNOSIS_LASTS_S, diagnose(self.target, self.tls, failed.message))
        found = self._known[1]
        return type(found)(
            found.message,
            code=failed.code,
            effect="none" if failed.message.startswith(_NEVER_SENT) else "maybe",
            method=failed.method,
            request_id=failed.request_id,
        )


def _credentials(loaded: LoadedTls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(loaded.ca, loaded.key, loaded.certificate)


def _options(settings: Settings) -> list[tuple[str, Any]]:
    name = settings.tls.server_name if settings.tls is not None else ""
    return [*rules.channel_options(), *([("grpc.ssl_target_name_override", name)] if name else [])]


def _prepared(requests: Iterable[Request]) -> Iterator[Request]:
    for request in requests:
        rules.give_event_ids(request)
        yield request


async def _prepared_async(requests: AsyncIterable[Request]) -> AsyncIterator[Request]:
    async for request in requests:
        rules.give_event_ids(request)
        yield request


def _callable(generation: Generation[Any], kind: str, method: Method[Any, Any]) -> Any:
    """Return grpc's object that makes calls of a method over this channel."""
    found = generation.methods.get(method.path)
    if found is None:
        make = getattr(generation.channel, kind)
        serialize = method.request.SerializeToString
        found = make(method.path, request_serializer=serialize, response_deserializer=method.response.FromString)
        generation.methods[method.path] = found
    return found


class Calls:
    """Makes calls from threads. Safe for use by several of them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._channels: Generations[grpc.Channel] = Generations(settings.tls, self._open, lambda one: one.close())

    def close(self) -> None:
        """End every call and the connection."""
        channel = self._channels.end()
        if channel is not None:
            channel.close()

    def unary(
        self, method: Method[Request, Response], request: Request, timeout: float | None, metadata: Metadata
    ) -> Response:
        """Make one call. Raises: GatewayError."""
        rules.give_event_ids(request)
        sent, request_id = self.settings.metadata(metadata)
        used = self._channels.take()
        try:
            call = _callable(used, "unary_unary", method)
            limit = self.settings.timeout_of(method.path, timeout)
            answer: Response = call(request, timeout=limit, metadata=sent)
            return answer
        except grpc.RpcError as error:
            raise self._failed(error, method.path, request_id) from error
        finally:
            self._channels.release(used)

    def server_stream(
        self, method: Method[Request, Response], request: Request, timeout: float | None, metadata: Metadata
    ) -> Iterator[Response]:
        """Yield the answers to one request. Raises: GatewayError."""
        with self.open("unary_stream", method, request, timeout, metadata) as stream:
            yield from stream

    def stream(
        self, method: Method[Request, Response], requests: Iterable[Request], timeout: float | None, metadata: Metadata
    ) -> Iterator[Response]:
        """Yield the answers to many requests. Raises: GatewayError."""
        with self.open("stream_stream", method, _prepared(requests), timeout, metadata) as stream:
            yield from stream

    def open(
        self, kind: str, method: Method[Any, Response], sent: Any, timeout: float | None = None, metadata: Metadata = ()
    ) -> Stream[Response]:
        """Open a stream. End it with `close`."""
        headers, request_id = self.settings.metadata(metadata)
        used = self._channels.take()
        call = _callable(used, kind, method)(sent, timeout=timeout, metadata=headers)
        return Stream(
            call, lambda error: self._failed(error, method.path, request_id), lambda: self._channels.release(used)
        )

    def _failed(self, error: Any, method: str, request_id: str) -> GatewayError:
        failed = self.settings.failure(error, method, request_id)
        return self.settings.cause(failed) if self.settings.needs_cause(failed) else failed

    def _open(self, loaded: LoadedTls | None) -> grpc.Channel:
        target, options = self.settings.target, _options(self.settings)
        if loaded is None:
            channel = grpc.insecure_channel(target, options=options)
        else:
            channel = grpc.secure_channel(target, _credentials(loaded), options=options)
        return grpc.intercept_channel(channel, *self.settings.interceptors) if self.settings.interceptors else channel


class Stream(Iterator[Response]):
    """The answers of one stream."""

    def __init__(self, call: Any, failed: Any, release: Any) -> None:
        self._call = call
        self._failed = failed
        self._release = release

    def __next__(self) -> Response:
        try:
            answer: Response = next(self._call)
            return answer
        except grpc.RpcError as error:
            raise self._failed(error) from error

    def header(self, name: str) -> str:
        """Wait for the gateway's first answer and return a value of its metadata; empty if there is none."""
        found = dict(self._call.initial_metadata() or ())
        if not found and self._call.done() and self._call.code() is not grpc.StatusCode.OK:
            raise self._failed(self._call)
        return str(found.get(name, ""))

    def cancel(self) -> None:
        """End the stream; whoever waits for an answer gets an exception."""
        self._call.cancel()

    def close(self) -> None:
        """End the stream and give its channel back. May be called again."""
        self._call.cancel()
        release, self._release = self._release, lambda: None
        release()

    def __enter__(self) -> Stream[Response]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncCalls:
    """Makes calls from the coroutines of one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._ending: set[asyncio.Future[None]] = set()
        self._channels: Generations[grpc.aio.Channel] = Generations(settings.tls, self._open, self._end)

    async def close(self) -> None:
        """End every call and the connection."""
        channel = self._channels.end()
        if channel is not None:
            await channel.close()
        await asyncio.gather(*self._ending)

    async def unary(
        self, method: Method[Request, Response], request: Request, timeout: float | None, metadata: Metadata
    ) -> Response:
        """Make one call. Raises: GatewayError."""
        rules.give_event_ids(request)
        sent, request_id = self.settings.metadata(metadata)
        used = self._channels.take()
        try:
            call = _callable(used, "unary_unary", method)
            limit = self.settings.timeout_of(method.path, timeout)
            answer: Response = await call(request, timeout=limit, metadata=sent)
            return answer
        except grpc.RpcError as error:
            raise await self._failed(error, method.path, request_id) from error
        finally:
            self._channels.release(used)

    async def server_stream(
        self, method: Method[Request, Response], request: Request, timeout: float | None, metadata: Metadata
    ) -> AsyncIterator[Response]:
        """Yield the answers to one request. Raises: GatewayError."""
        async with self.open("unary_stream", method, request, timeout, metadata) as stream:
            async for answer in stream:
                yield answer

    async def stream(
        self,
        method: Method[Request, Response],
        requests: AsyncIterable[Request],
        timeout: float | None,
        metadata: Metadata,
    ) -> AsyncIterator[Response]:
        """Yield the answers to many requests. Raises: GatewayError."""
        async with self.open("stream_stream", method, _prepared_async(requests), timeout, metadata) as stream:
            async for answer in stream:
                yield answer

    def open(
        self, kind: str, method: Method[Any, Response], sent: Any, timeout: float | None = None, metadata: Metadata = ()
    ) -> AsyncStream[Response]:
        """Open a stream. End it with `close`."""
        headers, request_id = self.settings.metadata(metadata)
        used = self._channels.take()
        call = _callable(used, kind, method)(sent, timeout=timeout, metadata=headers)
        return AsyncStream(
            call, lambda error: self._failed(error, method.path, request_id), lambda: self._channels.release(used)
        )

    async def _failed(self, error: Any, method: str, request_id: str) -> GatewayError:
        failed = self.settings.failure(error, method, request_id)
        return await asyncio.to_thread(self.settings.cause, failed) if self.settings.needs_cause(failed) else failed

    def _open(self, loaded: LoadedTls | None) -> grpc.aio.Channel:
        target, options = self.settings.target, _options(self.settings)
        interceptors = list(self.settings.interceptors)
        if loaded is None:
            return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
        return grpc.aio.secure_channel(target, _credentials(loaded), options=options, interceptors=interceptors)

    def _end(self, channel: grpc.aio.Channel) -> None:
        ending: asyncio.Future[None] = asyncio.ensure_future(channel.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class AsyncStream(AsyncIterator[Response]):
    """The answers of one stream."""

    def __init__(self, call: Any, failed: Any, release: Any) -> None:
        self._call = call
        self._answers = call.__aiter__()
        self._failed = failed
        self._release = release

    async def __anext__(self) -> Response:
        try:
            answer: Response = await self._answers.__anext__()
            return answer
        except grpc.RpcError as error:
            raise await self._failed(error) from error

    async def header(self, name: str) -> str:
        """Wait for the gateway's first answer and return a value of its metadata; empty if there is none."""
        try:
            return str(dict(await self._call.initial_metadata() or ()).get(name, ""))
        except grpc.RpcError as error:
            raise await self._failed(error) from error

    def close(self) -> None:
        """End the stream and give its channel back. May be called again."""
        self._call.cancel()
        release, self._release = self._release, lambda: None
        release()

    async def __aenter__(self) -> AsyncStream[Response]:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
