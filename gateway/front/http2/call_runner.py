"""Runs the call of one stream and sends its answer or its error. `dispatch.py` runs the chain and the handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from gateway.actions.shared.call import Call, Peer
from gateway.errors import (
    GatewayError,
    InvalidField,
    OutcomeUnknown,
    Overloaded,
    RateLimited,
    Stopping,
)
from gateway.front.dispatch import Dispatch, Ending, deadline_passed, ending_of
from gateway.front.http2.decompression import Decompression
from gateway.front.http2.request import ONE_MESSAGE
from gateway.front.http2.stream import CallerLeft, Stream
from gateway.front.http2.wire import Compressed, Header, status_trailers


class CallRunner:
    """Runs calls of one server."""

    def __init__(self, dispatch: Dispatch, release: Callable[[Stream, BaseException | None], None]) -> None:
        """Args: `release` gives back the place of a unary call that needs it no longer, with the error that ends it."""
        self._dispatch = dispatch
        self._release = release
        self._decompression = Decompression()

    async def run(self, stream: Stream, peer: Peer) -> None:
        """Run the call to its end and send that. Never raises but what ends the process."""
        stream.has_begun = True
        dispatch, endpoint = self._dispatch, stream.endpoint
        call = dispatch.open(
            endpoint.path, peer, stream.metadata, stream.request_id, stream.arrived_at, stream.deadline_at
        )
        has_one_answer = not endpoint.server_streaming
        error: BaseException | None = None
        answer = b""
        try:
            if has_one_answer:
                incoming, fault = self._incoming(stream)
                if type(incoming) is Compressed:
                    incoming, fault = await self._plain(incoming, stream)
                answer = await dispatch.unary(endpoint, call, incoming, fault)
            else:
                await self._send_all(stream, call)
        except BaseException as raised:  # noqa: BLE001 - a call ends by a status, whatever its handler raises
            error = raised
        try:
            if error is not None:
                error = await self._ending_error(stream, error)
            ending = dispatch.end(call, error)
            if has_one_answer:
                self._release(stream, error)
            if ending is None or stream.is_over or stream.is_answered:
                return
            if has_one_answer and error is None:
                stream.answer(answer, trailers_of(ending))
            else:
                stream.finish(trailers_of(ending))
        finally:
            # Its traceback leads to this frame: the two, and the request with them, would stay until a collection.
            error = None

    async def _ending_error(self, stream: Stream, error: BaseException) -> BaseException:
        """Return the error that the call ends with, once it may be sent."""
        if isinstance(error, RateLimited) and error.pace_s > 0:
            # A flood above its limit waits here for its refusals: it must not hold the places of other callers' calls.
            self._release(stream, error)
            try:
                await asyncio.sleep(error.pace_s)
            except asyncio.CancelledError as left:
                return self._meant(stream, left)
        return self._meant(stream, error)

    def _incoming(self, stream: Stream) -> tuple[bytes | AsyncIterator[bytes], GatewayError | None]:
        """Return what the client sends, and what is wrong with the request."""
        if not stream.endpoint.client_streaming:
            return _only_message(stream)
        stream.send_headers(self._dispatch.process)
        return stream.messages(self._decompression), stream.fault

    async def _plain(self, message: Compressed, stream: Stream) -> tuple[bytes, GatewayError | None]:
        try:
            return await self._decompression.plain(message, stream.reader), None
        except GatewayError as refused:
            return b"", refused

    async def _send_all(self, stream: Stream, call: Call) -> None:
        incoming, fault = self._incoming(stream)
        if type(incoming) is Compressed:
            incoming, fault = await self._plain(incoming, stream)
        answers = self._dispatch.streaming(stream.endpoint, call, incoming, fault)
        try:
            async for answer in answers:
                await stream.send(answer)
        finally:
            await answers.aclose()

    def _meant(self, stream: Stream, raised: BaseException) -> BaseException:
        """Return the error that the call ends with, for its status, its log line and the metrics."""
        if isinstance(raised, asyncio.CancelledError | CallerLeft):
            if stream.expired:
                return deadline_passed()
            return asyncio.CancelledError() if stream.is_over else stopped(stream)
        if isinstance(raised, KeyboardInterrupt | SystemExit):
            raise raised
        return raised


def stopped(stream: Stream) -> GatewayError:
    """Return the error of a call whose handler was cut because the process ends.

    Nobody knows how far the handler came. Clients send again by themselves what is UNAVAILABLE, so only a stream of
    answers, which changes nothing, may say so.
    """
    endpoint = stream.endpoint
    if endpoint.server_streaming and not endpoint.client_streaming:
        return Stopping()
    return OutcomeUnknown(_CUT)


def trailers_of(ending: Ending) -> list[Header]:
    """Return the trailers that end a call."""
    return status_trailers(ending.code, ending.message, ending.trailing)


def refusal_trailers(error: GatewayError, request_id: str) -> list[Header]:
    """Return the trailers of a refusal that no handler has seen."""
    return trailers_of(ending_of(error, [("x-request-id", request_id)]))


def overloaded_trailers() -> list[Header]:
    """Return the trailers of a call that is refused for too much load, but for its request id."""
    return trailers_of(ending_of(Overloaded(), []))


def _only_message(stream: Stream) -> tuple[bytes, GatewayError | None]:
    """Return the message of a call that takes exactly one, and what is wrong with the request or its client."""
    if stream.fault is not None:
        return b"", stream.fault
    if stream.connection.outflow.is_stuffed:
        return b"", Overloaded("This client does not read its answers. Read them, or call less.")
    request = stream.request
    if request is None:
        return b"", InvalidField([ONE_MESSAGE])
    return request, None


_CUT = (
    "The gateway stopped before the call was answered, and it may have acted. "
    "Check whether it took effect before you send it again."
)
