"""What the server owes a client on one connection: ends, deadlines, cancellation, flow control, drain; both engines."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import ngh2
import pytest
from google.protobuf.struct_pb2 import Struct

from gateway.actions.shared.call import Call
from gateway.front.endpoint import Endpoint
from gateway.front.http2.engine import Engine, EngineSettings
from gateway.front.http2.h2_engine import H2Engine
from gateway.front.http2.nghttp2_engine import Nghttp2Engine
from gateway.front.http2.server import ServerBounds
from gateway.front.http2.wire import framed
from tests.front.http2.peer import connected, serving

DEADLINE_EXCEEDED, INVALID_ARGUMENT, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 4, 3, 12, 13, 14
MakeEngine = Callable[[EngineSettings], Engine]


@pytest.fixture(params=[Nghttp2Engine, H2Engine], ids=["nghttp2", "h2"])
def engine(request: pytest.FixtureRequest) -> MakeEngine:
    """Each test runs on both engines."""
    made: MakeEngine = request.param
    return made


def endpoint(path: str, handler: Any, *, client: bool = False, server: bool = False) -> Endpoint:
    return Endpoint(path=path, handler=handler, request_class=Struct, client_streaming=client, server_streaming=server)


class Handlers:
    """Handlers that note what happens to them."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.began = asyncio.Event()
        self.sent = 0

    async def empty(self, request: Struct, call: Call) -> bytes:
        return b""

    async def hang(self, request: Struct, call: Call) -> bytes:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def short(self, request: Struct, call: Call) -> bytes:
        await asyncio.sleep(0.2)
        return b""

    async def pour(self, request: Struct, call: Call) -> AsyncIterator[bytes]:
        while True:
            self.sent += 1
            yield bytes(10_000)

    async def raises_late(self, request: Struct, call: Call) -> AsyncIterator[bytes]:
        yield b""
        raise ValueError("secret")

    async def raises(self, request: Struct, call: Call) -> bytes:
        raise ValueError("secret")

    async def count(self, requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield b""

    async def reads_none(self, requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[bytes]:
        self.began.set()
        await asyncio.Event().wait()
        yield b""

    def all(self) -> list[Endpoint]:
        return [
            endpoint("/t/Empty", self.empty),
            endpoint("/t/Hang", self.hang),
            endpoint("/t/Short", self.short),
            endpoint("/t/Pour", self.pour, server=True),
            endpoint("/t/Late", self.raises_late, server=True),
            endpoint("/t/Raises", self.raises),
            endpoint("/t/Count", self.count, client=True, server=True),
            endpoint("/t/ReadsNone", self.reads_none, client=True, server=True),
        ]


async def test_a_handler_that_hangs_past_the_deadline_is_answered_and_cancelled(engine: MakeEngine) -> None:
    """DEADLINE_EXCEEDED at the caller's time, though the handler never looks at it."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (_, port), connected(port) as peer:
        began = asyncio.get_running_loop().time()
        stream = peer.call("/t/Hang", b"", extra=[(b"grpc-timeout", b"100m")])
        assert DEADLINE_EXCEEDED == await peer.answered(stream)
        assert 0.1 <= asyncio.get_running_loop().time() - began < 0.2
        await asyncio.wait_for(handlers.cancelled.wait(), 1)
        assert "deadline" in peer.message(stream)


async def test_a_reset_cancels_the_handler_within_50_ms_and_harms_no_other_call(engine: MakeEngine) -> None:
    """The other call on the connection goes on."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (_, port), connected(port) as peer:
        other = peer.call("/t/Short", b"")
        stream = peer.call("/t/Hang", b"")
        await peer.until(handlers.began.is_set)
        peer.connection.reset_stream(stream)
        await peer.until(lambda: True)
        await asyncio.wait_for(handlers.cancelled.wait(), 0.05)
        assert 0 == await peer.answered(other)


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


async def test_a_drain_tells_twice_serves_what_is_under_way_and_closes(engine: MakeEngine) -> None:
    """The first GOAWAY names no stream, the second the last one; a call that came between them is served."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (server, port), connected(port) as peer:
        before = peer.call("/t/Short", b"")
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(server.drain(5.0))
        await peer.until(lambda: peer.of(ngh2.GoAwayReceived))
        await peer.until(lambda: len(peer.of(ngh2.GoAwayReceived)) == 2 and peer.status(before) is not None)
        first, second = peer.of(ngh2.GoAwayReceived)
        assert (2**31 - 1, before, 0) == (first.last_stream_id, second.last_stream_id, second.error_code)
        assert 0 == peer.status(before)
        await peer.until(lambda: peer.is_closed)
        await asyncio.wait_for(draining, 1)


async def test_a_drain_ends_what_does_not_end_by_itself_with_a_reason(engine: MakeEngine) -> None:
    """UNAVAILABLE and STOPPING, never a bare CANCELLED."""
    async with serving(Handlers().all(), engine) as (server, port), connected(port) as peer:
        stream = peer.call("/t/Hang", b"")
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(server.drain(0.2))
        assert UNAVAILABLE == await peer.answered(stream)
        await asyncio.wait_for(draining, 3)


async def test_an_idle_connection_is_closed_gracefully(engine: MakeEngine) -> None:
    """With two GOAWAYs."""
    bounds = ServerBounds(idle_s=0.1)
    async with serving(Handlers().all(), engine, bounds=bounds) as (_, port), connected(port) as peer:
        await peer.until(lambda: peer.is_closed)
        assert [(2**31 - 1, 0), (0, 0)] == peer.goaways()


async def test_a_client_that_answers_no_ping_is_dropped(engine: MakeEngine) -> None:
    """A half-open connection holds a file descriptor for ever otherwise."""
    bounds = ServerBounds(keepalive_s=0.1, keepalive_timeout_s=0.3)
    async with serving(Handlers().all(), engine, bounds=bounds) as (server, port), connected(port) as peer:
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        assert server._connections
        await asyncio.wait_for(server._idle.wait(), 4)


async def test_too_many_pings_end_the_connection(engine: MakeEngine) -> None:
    """ENHANCE_YOUR_CALM, as gRPC clients expect it."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        for number in range(1, 20):
            peer.connection.ping(b"12345678")
            await peer.until(lambda: peer.goaways() or len(peer.of(ngh2.PingAcknowledged)) >= number)  # noqa: B023
            if peer.goaways():
                break
        await peer.until(lambda: peer.is_closed)
        assert 0xB == peer.goaways()[-1][1]


async def test_pings_between_the_answers_of_a_stream_are_welcome(engine: MakeEngine) -> None:
    """grpc's core measures the line by a ping while it receives data: a long stream must not end for that."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        stream = peer.call("/t/Count", b"", end=False)
        for number in range(1, 20):
            peer.connection.send_data(stream, framed(b""))
            peer.connection.ping(b"12345678")
            await peer.until(lambda: sum(len(one.data) for one in peer.of(ngh2.DataReceived)) > 5 * number)  # noqa: B023
        peer.connection.send_data(stream, b"", end_stream=True)
        assert (0, []) == (await peer.answered(stream), peer.goaways())


async def test_many_cancelled_calls_leave_nothing(engine: MakeEngine) -> None:
    """No task, no timer, no stream."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (server, port), connected(port) as peer:
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
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
        running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert ({}, [], 0) == (connection.streams, running, sum(map(len, server._deadlines._slots.values())))


async def test_garbage_ends_its_connection_only(engine: MakeEngine) -> None:
    """Another connection is served as before."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer, connected(port) as other:
        other.write(b"GET / HTTP/1.1\r\n\r\n" * 10)
        await asyncio.sleep(0.05)
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))
