"""What the server owes a client on one connection: ends, deadlines, cancellation, flow control; both engines."""

from __future__ import annotations

import asyncio
import gc

import ngh2
import pytest
from google.protobuf.struct_pb2 import Struct

from tests.front.http2.handlers import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_ARGUMENT,
    UNIMPLEMENTED,
    Handlers,
    MakeEngine,
)
from tests.front.http2.peer import connected, serving


async def test_a_handler_that_hangs_past_the_deadline_is_answered_and_cancelled(engine: MakeEngine) -> None:
    """DEADLINE_EXCEEDED at the caller's time, though the handler never looks at it; the quickest call counts."""
    loop = asyncio.get_running_loop()
    took_s = []
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (_, port), connected(port) as peer:
        for _ in range(5):
            handlers.cancelled.clear()
            began = loop.time()
            stream = peer.call("/t/Hang", b"", extra=[(b"grpc-timeout", b"100m")])
            assert DEADLINE_EXCEEDED == await peer.answered(stream)
            took_s.append(loop.time() - began)
            await asyncio.wait_for(handlers.cancelled.wait(), 5)
            assert "deadline" in peer.message(stream)
    assert 0.085 <= min(took_s) < 0.2


async def test_a_reset_cancels_the_handler_within_50_ms_and_harms_no_other_call(engine: MakeEngine) -> None:
    """The other call on the connection goes on. The quickest of some cancellations counts."""
    loop = asyncio.get_running_loop()
    took_s = []
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (_, port), connected(port) as peer:
        for _ in range(5):
            handlers.began.clear()
            handlers.cancelled.clear()
            other = peer.call("/t/Short", b"")
            stream = peer.call("/t/Hang", b"")
            await peer.until(handlers.began.is_set)
            peer.connection.reset_stream(stream)
            await peer.until(lambda: True)
            reset_at = loop.time()
            await asyncio.wait_for(handlers.cancelled.wait(), 5)
            took_s.append(loop.time() - reset_at)
            assert 0 == await peer.answered(other)
    assert min(took_s) < 0.05


async def test_a_lost_connection_cancels_its_calls(engine: MakeEngine) -> None:
    """Nobody reads an answer any more."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (server, port):
        async with connected(port) as peer:
            peer.call("/t/Hang", b"")
            await peer.until(handlers.began.is_set)
        await asyncio.wait_for(handlers.cancelled.wait(), 1)
        assert not server._connections


async def test_a_slow_reader_stops_the_handler_and_is_served_on(engine: MakeEngine) -> None:
    """The handler writes a bounded amount ahead; an unread stream holds up no other."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (_, port), connected(port, window=65_535) as peer:
        peer.call("/t/Pour", b"")
        await peer.until(lambda: len(peer.of(ngh2.DataReceived)) > 2)
        await asyncio.sleep(0.1)
        stopped = handlers.sent
        assert stopped < 30
        await asyncio.sleep(0.1)
        assert stopped == handlers.sent
    # A window that opens lets the handler go on.
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (_, port), connected(port) as peer:
        peer.call("/t/Pour", b"")
        await peer.until(lambda: sum(len(one.data) for one in peer.of(ngh2.DataReceived)) > 3_000_000)
        assert handlers.sent > 300


async def test_what_nobody_reads_is_not_taken_in_without_bound(engine: MakeEngine) -> None:
    """A client stream whose handler reads nothing stops at its window; another call on the connection is served."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (_, port), connected(port) as peer:
        stream = peer.call("/t/ReadsNone", end=False)
        await peer.until(handlers.began.is_set)
        for _ in range(100):
            peer.connection.send_data(stream, b"\0\0\0\x27\x10" + bytes(10_000))
        await peer.until(lambda: True)
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))
        assert peer.connection.queued_body_size(stream) > 500_000


async def test_a_message_longer_than_the_window_arrives(engine: MakeEngine) -> None:
    """Up to 4 MiB, however small the window is."""
    handlers = Handlers()
    field = Struct()
    field["x"] = "y" * 3_000_000
    async with serving(handlers.all(), engine) as (_, port), connected(port) as peer:
        assert 0 == await peer.answered(peer.call("/t/Empty", field.SerializeToString()))
        stream = peer.call("/t/Count", field.SerializeToString())
        assert 0 == await peer.answered(stream)


@pytest.mark.parametrize("path", ["/t/Empty", "/t/Count"])
async def test_a_message_that_is_too_long_is_answered_with_a_reason(engine: MakeEngine, path: str) -> None:
    """INVALID_ARGUMENT that says how long it may be; the connection goes on."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (_, port), connected(port) as peer:
        stream = peer.call(path, bytes(5_000_000))
        assert INVALID_ARGUMENT == await peer.answered(stream)
        assert "4194304" in peer.message(stream)
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))


async def test_metadata_that_is_too_long_is_answered_with_a_reason(engine: MakeEngine) -> None:
    """From 16 KiB on."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        stream = peer.call("/t/Empty", b"", extra=[(b"x-long", b"y" * 17_000)])
        assert INVALID_ARGUMENT == await peer.answered(stream)
        assert "metadata" in peer.message(stream)


@pytest.mark.parametrize("path", ["/t/Raises", "/t/Late"])
async def test_an_exception_is_internal_with_a_fixed_text(engine: MakeEngine, path: str) -> None:
    """Before or after the first message; never OK, never the exception's own words."""
    noted: list[BaseException] = []
    async with serving(Handlers().all(), engine, unexpected=noted) as (_, port), connected(port) as peer:
        stream = peer.call(path, b"")
        assert INTERNAL == await peer.answered(stream)
        assert "secret" not in peer.message(stream)
        assert 1 == len(noted)


async def test_an_unknown_method_ends_its_stream_only(engine: MakeEngine) -> None:
    """UNIMPLEMENTED, also while its request goes on; then another call."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        assert UNIMPLEMENTED == await peer.answered(peer.call("/t/Nothing", b"", end=False))
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))


@pytest.mark.parametrize("messages", [(), (b"", b"")])
async def test_a_unary_call_has_one_message(engine: MakeEngine, messages: tuple[bytes, ...]) -> None:
    """None, or two, is a fault that is named."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        stream = peer.call("/t/Empty", *messages)
        assert INVALID_ARGUMENT == await peer.answered(stream)
        assert "exactly one message" in peer.message(stream)


async def test_what_is_not_grpc_gets_an_http_status(engine: MakeEngine) -> None:
    """415 for another content type, and the connection goes on."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/t/Empty")]
        stream = peer.connection.send_request(headers, end_stream=True)
        await peer.until(lambda: peer.of(ngh2.ResponseReceived))
        assert (b":status", b"415") in peer.of(ngh2.ResponseReceived)[0].headers
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))
        assert stream == peer.of(ngh2.ResponseReceived)[0].stream_id


async def test_many_cancelled_calls_leave_nothing(engine: MakeEngine) -> None:
    """No task, no timer, no stream."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (server, port), connected(port) as peer:
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        before = asyncio.all_tasks()
        for _ in range(20):
            streams = [peer.call("/t/Hang", b"", extra=[(b"grpc-timeout", b"60S")]) for _ in range(5)]
            await peer.until(lambda: True)
            await asyncio.sleep(0.01)
            for stream in streams:
                peer.connection.reset_stream(stream)
            await peer.until(lambda: True)
            await asyncio.sleep(0.02)
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))
        (connection,) = server._connections
        await asyncio.sleep(0.05)
        gc.collect()
        running = asyncio.all_tasks() - before
        assert ({}, set(), 0) == (
            connection.streams,
            running,
            sum(len(slot) for slot in server.calls._deadlines._slots.values()),
        )


async def test_garbage_ends_its_connection_only(engine: MakeEngine) -> None:
    """Another connection is served as before."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer, connected(port) as other:
        other.write(b"GET / HTTP/1.1\r\n\r\n" * 10)
        await asyncio.sleep(0.05)
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))
