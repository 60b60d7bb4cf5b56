"""What a client cannot do to the memory and the turns of others: windows, unfinished requests, resets; both engines."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import ngh2
import pytest
from google.protobuf.struct_pb2 import Struct

from gateway.actions.shared.call import Call
from gateway.front.http2.admission import Admission, AdmissionSettings
from gateway.front.http2.connection import Unfinished
from gateway.front.http2.gate import Gate
from gateway.front.http2.outflow import MAX_WAITING_BYTES
from gateway.front.http2.server import ServerBounds
from gateway.front.http2.stream import Stream
from gateway.resilience.clock import SystemClock
from tests.front.http2.handlers import (
    DEADLINE_EXCEEDED,
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    Handlers,
    MakeEngine,
    endpoint,
)
from tests.front.http2.peer import connected, serving

TIMEOUT = (b"grpc-timeout", b"100m")


async def test_streams_that_end_unread_give_their_window_back(engine: MakeEngine) -> None:
    """Twenty times 500 kB that no handler read would close the connection's window of 8 MiB for every later call."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (_, port), connected(port) as peer:
        for _ in range(60):
            handlers.began.clear()
            stream = peer.call("/t/ReadsNone", end=False)
            for _ in range(25):
                peer.connection.send_data(stream, b"\0\0\0\x27\x10" + bytes(10_000))
            await peer.until(handlers.began.is_set)
            await peer.until(lambda: peer.connection.queued_body_size(stream) == 0)  # noqa: B023
            peer.connection.reset_stream(stream)
            await peer.until(lambda: True)
        field = Struct()
        field["x"] = "y" * 1_000_000
        assert 0 == await peer.answered(peer.call("/t/Count", field.SerializeToString()))


async def test_data_is_acknowledged_once(engine: MakeEngine) -> None:
    """A window never grows beyond what was sent of it."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        before = sum(one.increment for one in peer.of(ngh2.WindowUpdated))
        field = Struct()
        field["x"] = "y" * 200_000
        message = field.SerializeToString()
        unary, streaming = peer.call("/t/Empty", message), peer.call("/t/Count", *[message] * 20)
        assert [0, 0] == [await peer.answered(stream) for stream in (unary, streaming)]
        sent = {unary: len(message) + 5, streaming: 20 * (len(message) + 5)}
        given = {
            stream: sum(one.increment for one in peer.of(ngh2.WindowUpdated) if one.stream_id == stream)
            for stream in (0, unary, streaming)
        }
        assert given[unary] <= sent[unary]
        assert given[streaming] <= sent[streaming]
        assert 0 < given[0] - before <= sum(sent.values())


async def test_a_unary_call_with_endless_messages_is_refused_with_its_second(engine: MakeEngine) -> None:
    """It is not collected until its end, which may never come."""
    async with serving(Handlers().all(), engine) as (server, port), connected(port) as peer:
        stream = peer.call("/t/Empty", *[b""] * 1000, end=False)
        assert INVALID_ARGUMENT == await peer.answered(stream)
        assert "exactly one message" in peer.message(stream)
        await peer.until(lambda: [one for one in peer.of(ngh2.StreamClosed) if one.stream_id == stream])
        (connection,) = server._connections
        assert {} == connection.streams
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))


@pytest.mark.parametrize("extra", [(TIMEOUT,), ()], ids=["deadline", "no deadline"])
async def test_half_a_request_is_not_waited_for_without_end(engine: MakeEngine, extra: Any) -> None:
    """The caller's deadline ends it, or the time that a request may take."""
    bounds = ServerBounds(request_s=0.1)
    async with serving(Handlers().all(), engine, bounds=bounds) as (_, port), connected(port) as peer:
        stream = peer.call("/t/Empty", end=False, extra=extra)
        assert DEADLINE_EXCEEDED == await peer.answered(stream)


async def test_a_request_in_time_may_be_worked_on_for_longer(engine: MakeEngine) -> None:
    """The time for its arrival is over once it has arrived."""
    bounds = ServerBounds(request_s=0.1)
    async with serving(Handlers().all(), engine, bounds=bounds) as (_, port), connected(port) as peer:
        streams = [peer.call("/t/Short", b"", extra=extra) for extra in ((), ((b"grpc-timeout", b"9S"),))]
        assert [0, 0] == [await peer.answered(stream) for stream in streams]


async def test_unfinished_messages_of_all_clients_are_bounded(
    engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends more of one then is refused as OVERLOADED; what was held is counted back."""
    monkeypatch.setattr(Unfinished, "MAX_BYTES", 100_000)
    async with serving(Handlers().all(), engine) as (server, port), connected(port) as peer:
        streams = [peer.call(path, end=False) for path in ("/t/Empty", "/t/Count", "/t/Empty", "/t/Count")]
        for stream in streams:
            peer.connection.send_data(stream, b"\0\0\0\xff\xff" + bytes(40_000))
        assert [RESOURCE_EXHAUSTED] * 2 == [await peer.answered(stream) for stream in streams[2:]]
        assert 80_000 < server.unfinished.held_bytes < 90_000
        for stream in streams[:2]:
            peer.connection.send_data(stream, bytes(25_535))
            peer.connection.end_stream(stream)
            assert INVALID_ARGUMENT == await peer.answered(stream)  # zeros are no Struct
        assert 0 == server.unfinished.held_bytes


@pytest.mark.parametrize("path", ["/t/Nothing", "/t/Empty"], ids=["unknown method", "no gRPC"])
async def test_what_is_answered_at_once_holds_no_stream(engine: MakeEngine, path: str) -> None:
    """Though its request never ends: more of them than a connection may have streams, then a call."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        for _ in range(12):
            for _ in range(100):
                headers = [
                    (b":method", b"POST"),
                    (b":scheme", b"http"),
                    (b":authority", b"x"),
                    (b":path", path.encode()),
                ]
                if path == "/t/Nothing":
                    headers.append((b"content-type", b"application/grpc"))
                peer.connection.send_request(headers)
            count = len(peer.of(ngh2.StreamClosed)) + 100
            await peer.until(lambda: len(peer.of(ngh2.StreamClosed)) >= count)  # noqa: B023
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))


async def test_calls_that_are_reset_before_they_start_leave_no_place_taken(engine: MakeEngine) -> None:
    """A call and its reset in one packet: the task is cancelled before it runs at all."""
    admission: Admission[Stream] = Admission(AdmissionSettings(first_limit=8.0, min_limit=8.0, max_limit=8.0))
    handlers = Handlers()
    async with (
        serving(handlers.all(), engine, gate=Gate(SystemClock(), admission=admission)) as (_, port),
        connected(port) as peer,
    ):
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        for _ in range(50):
            peer.connection.reset_stream(peer.call("/t/Hang", b""))
            await peer.until(lambda: True)
        peer.write(b"".join(_called_and_reset(stream) for stream in range(101, 201, 2)))
        await peer.until_read()
        async with asyncio.timeout(5):
            while (0, 0) != (admission.running, admission.queued):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)


def _called_and_reset(stream: int) -> bytes:
    """Return a call and its reset as frames: libnghttp2 as a client would never send the call."""
    block = b"".join(
        b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/t/Hang"),
            (b":authority", b"x"),
            (b"content-type", b"application/grpc"),
        )
    )

    def frame(kind: int, flags: int, payload: bytes) -> bytes:
        return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload

    return frame(1, 4, block) + frame(0, 1, bytes(5)) + frame(3, 0, struct.pack(">I", 8))


async def test_a_long_queue_of_short_calls_is_served_one_after_the_other(engine: MakeEngine) -> None:
    """Each starts when the one before it ends, inside one turn of the loop; a chain of them is no recursion."""
    admission: Admission[Stream] = Admission(
        AdmissionSettings(first_limit=1.0, min_limit=1.0, max_limit=1.0, burst=1000)
    )
    handlers = Handlers()
    async with (
        serving(handlers.all(), engine, gate=Gate(SystemClock(), admission=admission)) as (_, port),
        connected(port) as peer,
    ):
        first = peer.call("/t/Short", b"")
        streams = [peer.call("/t/Empty", b"") for _ in range(600)]
        assert 0 == await peer.answered(first)
        assert {0} == {await peer.answered(stream) for stream in streams}


async def test_answers_that_a_client_does_not_take_are_bounded(engine: MakeEngine) -> None:
    """New calls of it are refused; the calls of others are served."""

    async def large(request: Struct, call: Call) -> bytes:
        return bytes(2_000_000)

    endpoints = [*Handlers().all(), endpoint("/t/Large", large)]
    async with (
        serving(endpoints, engine) as (server, port),
        connected(port, window=1) as peer,
        connected(port) as other,
    ):
        streams = [peer.call("/t/Large", b"") for _ in range(40)]
        assert RESOURCE_EXHAUSTED == await peer.answered(streams[-1])
        refused = sum(peer.status(stream) == RESOURCE_EXHAUSTED for stream in streams)
        assert 20 <= refused < 30
        assert server.backlog.waiting_bytes < MAX_WAITING_BYTES + 2_100_000
        assert 0 == await other.answered(other.call("/t/Empty", b""))
    await asyncio.sleep(0.05)
    assert 0 == server.backlog.waiting_bytes


async def test_a_handler_of_a_full_client_waits_for_each_message(
    engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many streams of one client that reads none of them hold one message each, not 64 KiB each."""
    monkeypatch.setattr("gateway.front.http2.outflow.MAX_WAITING_BYTES", 100_000)
    began, sent, all_began = 0, 0, asyncio.Event()

    async def pour(request: Struct, call: Call) -> AsyncIterator[bytes]:
        nonlocal began, sent
        began += 1
        if began == 50:
            all_began.set()
        await all_began.wait()
        while True:
            sent += 1
            yield bytes(10_000)

    endpoints = [endpoint("/t/Pour", pour, server=True)]
    async with serving(endpoints, engine) as (_, port), connected(port, window=1) as peer:
        for _ in range(50):
            peer.call("/t/Pour", b"")
        await peer.until(lambda: len(peer.of(ngh2.ResponseReceived)) == 50)
        await asyncio.sleep(0.1)
        assert 50 <= sent <= 70
