"""Streams of events that survive a lost connection, for threads and for asyncio. The rules are in streams.py.

`send` hands over a message of 1 to 1,000 events and returns a future with one result for each event, in their order. It
waits while too many messages have no answer, so memory stays bounded. An event that fails does not fail the stream:
`error_of(result.error)` is its exception.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future

from phoenix_gateway_client import v1
from phoenix_gateway_client.calls import AsyncCalls, AsyncStream, Calls, Stream
from phoenix_gateway_client.errors import GatewayError
from phoenix_gateway_client.generations import LOG
from phoenix_gateway_client.streams import (
    PROCESS,
    STREAM_EVENTS,
    Reconnects,
    Unacknowledged,
    error_for,
    never_answered,
    outcome_unknown,
)

Results = list[v1.EventResult]
WINDOW = 6
"""Messages without an answer: a few more than a gateway reads ahead."""


class EventStream:
    """A stream for threads. Leaving the `with` block waits until every message is answered."""

    def __init__(self, calls: Calls, pending: Unacknowledged[Future[Results]]) -> None:
        self._calls = calls
        self._pending = pending
        self._reconnects = Reconnects()
        self._changed = threading.Condition()
        self._number = 0
        self._stream: Stream[v1.StreamEventsResponse] | None = None
        self._is_closing = False
        self._failure: GatewayError | None = None
        self._thread = threading.Thread(target=self._run, name="phoenix-gateway-events", daemon=True)
        self._thread.start()

    def send(self, *events: v1.Event) -> Future[Results]:
        """Send events and return where their results will be. Raises: GatewayError if the stream has failed."""
        result: Future[Results] = Future()
        with self._changed:
            self._changed.wait_for(lambda: len(self._pending) < WINDOW or self._failure is not None)
            if self._failure is not None:
                raise self._failure
            if self._is_closing:
                raise ValueError("the stream is closed")
            self._pending.add(events, result)
            self._changed.notify_all()
        return result

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every message is answered. Raises: GatewayError; TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._pending or self._failure is not None, timeout):
                raise TimeoutError(f"{len(self._pending)} messages have no answer after {timeout:g} s")
            if self._failure is not None:
                raise self._failure

    def close(self) -> None:
        """Wait until every message is answered, then end the stream. Raises: GatewayError."""
        try:
            self.flush()
        finally:
            self._end()

    def cancel(self) -> None:
        """End the stream at once. Messages without an answer get OutcomeUnknown."""
        with self._changed:
            self._fail(never_answered())
        self._end()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close() if kind is None else self.cancel()

    def _end(self) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            if self._failure is not None and self._stream is not None:
                self._stream.cancel()
        self._thread.join()

    def _run(self) -> None:
        while True:
            error: GatewayError | None = None
            try:
                self._over_one_stream()
            except GatewayError as ended:
                error = ended
            with self._changed:
                self._stream = None
                if self._failure is not None or (self._is_closing and not self._pending):
                    return
                if error is not None and error.reason and error.effect == "none":
                    self._pending.refused()
                self._pending.ended()
                try:
                    wait = self._reconnects.wait_after(error)
                except GatewayError as final:
                    self._fail(final)
                    return
                LOG.warning("the event stream ended and is opened again in %.1f s: %s", wait, error)
                self._changed.wait_for(lambda: self._failure is not None, wait)

    def _over_one_stream(self) -> None:
        with self._changed:
            self._number += 1
            number = self._number
        with self._calls.open("stream_stream", STREAM_EVENTS, self._requests(number)) as stream:
            try:
                with self._changed:
                    self._stream = stream
                process = stream.header(PROCESS)
                with self._changed:
                    self._reconnects.worked()
                    for message in self._pending.begin(process):
                        message.result.set_exception(outcome_unknown())
                    self._is_open = number
                    self._changed.notify_all()
                for response in stream:
                    with self._changed:
                        message_ = self._pending.acknowledge(response.sequence)
                        self._changed.notify_all()
                    if message_ is not None:
                        message_.result.set_result(list(response.results))
            finally:
                with self._changed:
                    self._number += 1  # ends the requests of this stream
                    self._changed.notify_all()

    _is_open = 0

    def _requests(self, number: int) -> Iterator[v1.StreamEventsRequest]:
        """Yield the messages of one stream as they come. It runs in a thread of grpc."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._number != number
                        or (self._is_open == number and (self._pending.has_unsent or self._is_closing))
                    )
                )
                if self._number != number or not self._pending.has_unsent:
                    return
                request = self._pending.next_request()
            yield request

    def _fail(self, failure: GatewayError) -> None:
        self._failure = failure
        for message in self._pending.take_all():
            message.result.set_exception(error_for(message, failure))
        self._changed.notify_all()


class AsyncEventStream:
    """The same for asyncio: `await stream.send(...)` hands over, and the future that it returns has the results."""

    def __init__(self, calls: AsyncCalls, pending: Unacknowledged[asyncio.Future[Results]]) -> None:
        self._calls = calls
        self._pending = pending
        self._reconnects = Reconnects()
        self._changed = asyncio.Condition()
        self._number = 0
        self._is_closing = False
        self._failure: GatewayError | None = None
        self._task = asyncio.ensure_future(self._run())

    async def send(self, *events: v1.Event) -> asyncio.Future[Results]:
        """Send events and return where their results will be. Raises: GatewayError if the stream has failed."""
        result: asyncio.Future[Results] = asyncio.get_running_loop().create_future()
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._pending) < WINDOW or self._failure is not None)
            if self._failure is not None:
                raise self._failure
            if self._is_closing:
                raise ValueError("the stream is closed")
            self._pending.add(events, result)
            self._changed.notify_all()
        return result

    async def flush(self) -> None:
        """Wait until every message is answered. Raises: GatewayError."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._pending or self._failure is not None)
            if self._failure is not None:
                raise self._failure

    async def close(self) -> None:
        """Wait until every message is answered, then end the stream. Raises: GatewayError."""
        try:
            await self.flush()
        finally:
            await self._end()

    async def cancel(self) -> None:
        """End the stream at once. Messages without an answer get OutcomeUnknown."""
        async with self._changed:
            self._fail(never_answered())
        await self._end()

    async def __aenter__(self) -> AsyncEventStream:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await (self.close() if kind is None else self.cancel())

    async def _end(self) -> None:
        async with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._failure is not None:
            self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            error: GatewayError | None = None
            try:
                await self._over_one_stream()
            except GatewayError as ended:
                error = ended
            async with self._changed:
                self._changed.notify_all()  # for the requests of the stream that ended
                if self._failure is not None or (self._is_closing and not self._pending):
                    return
                if error is not None and error.reason and error.effect == "none":
                    self._pending.refused()
                self._pending.ended()
                try:
                    wait = self._reconnects.wait_after(error)
                except GatewayError as final:
                    self._fail(final)
                    return
            LOG.warning("the event stream ended and is opened again in %.1f s: %s", wait, error)
            await asyncio.sleep(wait)

    async def _over_one_stream(self) -> None:
        is_open = asyncio.Event()
        self._number += 1
        try:
            async with self._calls.open(
                "stream_stream", STREAM_EVENTS, self._requests(self._number, is_open)
            ) as stream:
                await self._read(stream, is_open)
        finally:
            self._number += 1  # ends the requests of this stream
            is_open.set()

    async def _read(self, stream: AsyncStream[v1.StreamEventsResponse], is_open: asyncio.Event) -> None:
        process = await stream.header(PROCESS)
        async with self._changed:
            self._reconnects.worked()
            for message in self._pending.begin(process):
                message.result.set_exception(outcome_unknown())
        is_open.set()
        async for response in stream:
            async with self._changed:
                answered = self._pending.acknowledge(response.sequence)
                self._changed.notify_all()
            if answered is not None and not answered.result.done():
                answered.result.set_result(list(response.results))

    async def _requests(self, number: int, is_open: asyncio.Event) -> AsyncIterator[v1.StreamEventsRequest]:
        """Yield the messages of one stream as they come. grpc goes on reading after a stream that broke has ended; it
        must not take a message then, which no other stream would carry."""
        await is_open.wait()
        while True:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: self._number != number or self._pending.has_unsent or self._is_closing
                )
                if self._number != number or not self._pending.has_unsent:
                    return
                request = self._pending.next_request()
            yield request

    def _fail(self, failure: GatewayError) -> None:
        self._failure = failure
        for message in self._pending.take_all():
            if not message.result.done():
                message.result.set_exception(error_for(message, failure))
        self._changed.notify_all()
