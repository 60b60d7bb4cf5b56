"""Flow control and ends of streams on one connection: nothing is acknowledged twice or forgotten; both engines."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import ngh2
import pytest
from google.protobuf.struct_pb2 import Struct

from bench.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    Frame,
    frame,
    grpc_message,
    request_headers,
)
from gateway.actions.shared.call import Call
from gateway.errors import FieldFault, InvalidField
from gateway.front.http2.engine import ENHANCE_YOUR_CALM, REFUSED_STREAM, EngineSettings
from gateway.front.http2.nghttp2_engine import Nghttp2Engine
from tests.front.conftest import endpoint
from tests.front.http2.handlers import Handlers, MakeEngine
from tests.front.http2.peer import HEADERS as REQUEST_HEADERS
from tests.front.http2.peer import connected, serving
from tests.raw_http2 import RawConnection

CONNECTION_WINDOW = 8 * 1024 * 1024


def _struct(size: int) -> bytes:
    made = Struct()
    made["x"] = "y" * size
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("path", "sizes"),
    [
        pytest.param("/t/Empty", (300_000,), id="unary"),
        pytest.param("/t/Count", (300_000, 70_000, 0, 1), id="stream"),
        pytest.param("/t/Nothing", (200_000,), id="unknown method"),
        pytest.param("/t/Empty", (120_000, 120_000), id="one message too many"),
        pytest.param("/t/Raises", (200_000,), id="raises"),
        pytest.param("/t/ReadsNone", (120_000, 120_000), id="not read, then reset"),
    ],
)
async def test_what_was_sent_is_acknowledged_exactly_once(
    engine: MakeEngine,
    path: str,
    sizes: tuple[int, ...],
) -> None:
    """After twice the connection's window: less would have choked it, more would have made it wider than it was."""
    handlers = Handlers()
    messages = [_struct(size) for size in sizes]
    async with serving(handlers.all(), engine) as (_, port), connected(port) as peer:
        await peer.until(lambda: peer.connection.remote_window_size == CONNECTION_WINDOW)
        for _ in range(2 * CONNECTION_WINDOW // sum(sizes) + 1):
            peer.events.clear()
            if path == "/t/ReadsNone":
                handlers.began.clear()
                stream = peer.call(path, *messages, end=False)
                await peer.until(handlers.began.is_set)
                await peer.until(lambda: peer.connection.queued_body_size() == 0)
                peer.connection.reset_stream(stream)
            else:
                assert await peer.answered(peer.call(path, *messages)) is not None
            assert peer.connection.remote_window_size <= CONNECTION_WINDOW
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))


async def test_good_messages_before_a_bad_one_reach_the_handler(engine: MakeEngine) -> None:
    """Also where all of the call came in one packet, so that the fault is known before the handler starts."""
    got: list[Struct] = []

    async def each(requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[bytes]:
        async for request in requests:
            got.append(request)
            yield b""

    endpoints = [endpoint("/t/Each", each, client=True, server=True)]
    async with serving(endpoints, engine) as (_, port), connected(port) as peer:
        await peer.until(lambda: peer.connection.remote_window_size == CONNECTION_WINDOW)
        stream = peer.connection.send_request([(b":path", b"/t/Each"), *REQUEST_HEADERS])
        peer.connection.send_data(stream, grpc_message(_struct(1)) * 2 + b"\7\0\0\0\0", end_stream=True)
        assert await peer.answered(stream) == 3
        assert "neither 0 nor 1" in peer.message(stream)
        assert len(got) == 2


async def test_a_reset_in_the_middle_of_an_answer_ends_that_stream_only(engine: MakeEngine) -> None:
    """A stream that pours and a unary answer that waits for its window; the connection serves on."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (server, port), connected(port) as peer:
        for _ in range(20):
            pouring = peer.call("/t/Pour", b"")
            await peer.until(lambda: any(one.stream_id == pouring for one in peer.of(ngh2.DataReceived)))  # noqa: B023
            peer.connection.reset_stream(pouring)
            assert 0 == await peer.answered(peer.call("/t/Empty", b""))
        (connection,) = server._connections
        await asyncio.sleep(0.05)
        assert ({}, 0, not peer.is_closed) == (connection.streams, connection._engine.queued_in_all(), True)


async def test_an_early_answer_is_not_cut_off_behind_long_ones(engine: MakeEngine) -> None:
    """Its stream is reset because its request goes on, but not before it has left."""

    async def long(request: Struct, call: Call) -> bytes:
        return _struct(400_000)

    async def refuses(requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[bytes]:
        async for _ in requests:
            raise InvalidField([FieldFault(field="a", description="is wrong")])
        yield b""

    endpoints = [endpoint("/t/Long", long), endpoint("/t/Refuses", refuses, client=True, server=True)]
    async with serving(endpoints, engine) as (_, port), connected(port, window=1 << 20) as peer:
        peer.connection.set_local_window_size(8 << 20)
        await peer.until(lambda: peer.connection.remote_window_size == CONNECTION_WINDOW)
        streams = []
        for _ in range(4):
            streams.append((peer.call("/t/Long", b""), 0))
            streams.append((peer.call("/t/Refuses", b"", end=False), 3))
        for stream, status in streams:
            assert (stream, await peer.answered(stream)) == (stream, status)


async def test_broken_compression_ends_its_stream_only(engine: MakeEngine) -> None:
    """INVALID_ARGUMENT, on a unary method and in the middle of a stream."""
    broken = b"\1\0\0\0\5nonse"
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        for path in ("/t/Empty", "/t/Count"):
            stream = peer.connection.send_request(_headers(path))
            peer.connection.send_data(stream, broken, end_stream=True)
            assert 3 == await peer.answered(stream)
        packed = gzip.compress(b"")
        stream = peer.connection.send_request(_headers("/t/Empty"))
        peer.connection.send_data(stream, b"\1" + len(packed).to_bytes(4, "big") + packed, end_stream=True)
        assert 0 == await peer.answered(stream)


def _headers(path: str) -> list[tuple[bytes, bytes]]:
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"x"),
        (b":path", path.encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-encoding", b"gzip"),
    ]


async def test_a_call_that_is_never_whole_ends_at_its_deadline(engine: MakeEngine) -> None:
    """A unary request without its end: the caller's time counts from the headers."""
    async with serving(Handlers().all(), engine) as (server, port), connected(port) as peer:
        for messages in ((), (b"",)):
            stream = peer.call("/t/Empty", *messages, end=False, extra=[(b"grpc-timeout", b"50m")])
            assert 4 == await peer.answered(stream, 2.0)
        (connection,) = server._connections
        await peer.until(lambda: True)
        await asyncio.sleep(0.05)
        assert {} == connection.streams


async def test_a_call_that_is_cancelled_before_its_first_step_gives_its_place_back(
    engine: MakeEngine,
) -> None:
    """Request and reset in one write: a client could take every place with 64 of them otherwise."""
    async with serving(Handlers().all(), engine) as (server, port), connected(port) as peer:
        for _ in range(150):
            stream = peer.connection.send_request(_headers("/t/Hang"))
            peer.connection.send_data(stream, b"\0\0\0\0\0", end_stream=True)
            requests = peer.connection.data_to_send()
            peer.connection.reset_stream(stream)
            peer.write(requests + peer.connection.data_to_send())
            await peer.until(lambda: True)
        await peer.until_read()  # before that, no call may have begun yet
        async with asyncio.timeout(5):
            while server.gate.running:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))


async def test_a_client_that_says_goodbye_gets_its_answers(engine: MakeEngine) -> None:
    """GOAWAY means: no new streams; those under way end as usual."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        stream = peer.call("/t/Short", b"")
        await peer.until(lambda: True)
        goodbye = frame(GOAWAY, 0, 0, bytes(8))
        peer.write(goodbye)
        assert 0 == await peer.answered(stream)


@pytest.mark.parametrize(
    "malformed",
    [(("X-Upper", "y"),), (("connection", "close"),), ((":path", "/again"),), (("x-line", "a\nb"),)],
    ids=["upper case", "connection header", "pseudo header twice", "newline"],
)
async def test_headers_that_http2_forbids_end_their_stream_only(
    engine: MakeEngine,
    malformed: tuple[tuple[str, str], ...],
) -> None:
    """RST_STREAM; the next call is answered."""

    def attempt(port: int) -> tuple[bool, bool]:
        with RawConnection(f"127.0.0.1:{port}") as connection:

            def is_answered() -> bool:
                return any((one.kind, one.stream, one.flags & 1) == (HEADERS, 3, 1) for one in connection.seen)

            block = request_headers("x", "/t/Empty", malformed)
            connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block) + connection.call(3, "/t/Empty", b""))
            connection.read(is_answered, 5.0)
            return connection.was_reset, is_answered()

    async with serving(Handlers().all(), engine) as (_, port):
        assert (True, True) == await asyncio.to_thread(attempt, port)


async def test_a_stream_too_many_is_refused(engine: MakeEngine) -> None:
    """REFUSED_STREAM, and the open streams go on; libnghttp2 ends the connection of a client that knew the limit."""
    last = 2 * EngineSettings().max_streams + 1

    def attempt(port: int) -> tuple[list[int], bool, bool]:
        with RawConnection(f"127.0.0.1:{port}") as connection:

            def frames(kind: int, stream: int) -> list[Frame]:
                return [one for one in connection.seen if (one.kind, one.stream) == (kind, stream)]

            block = request_headers("x", "/t/Count")
            for stream in range(1, last + 1, 2):
                connection.send(frame(HEADERS, END_HEADERS, stream, block))
            connection.read(lambda: frames(RST_STREAM, last) or frames(GOAWAY, 0), 10.0)
            connection.send(frame(DATA, 0, 1, grpc_message(b"")))
            connection.read(lambda: frames(DATA, 1) or frames(GOAWAY, 0), 10.0)
            codes = [int.from_bytes(one.payload, "big") for one in frames(RST_STREAM, last)]
            return codes, bool(frames(DATA, 1)), connection.gone_away

    async with serving(Handlers().all(), engine) as (_, port):
        found = await asyncio.to_thread(attempt, port)
    assert found == (([], False, True) if engine is Nghttp2Engine else ([REFUSED_STREAM], True, False))


async def test_a_client_that_leaves_is_hung_up_on_once_it_is_served(engine: MakeEngine) -> None:
    """After its GOAWAY and its last answer; it need not close by itself."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        stream = peer.call("/t/Short", b"")
        await peer.until(lambda: True)
        peer.write(frame(GOAWAY, 0, 0, bytes(8)))
        assert 0 == await peer.answered(stream)
        await peer.until(lambda: peer.is_closed)
        assert peer.is_closed


async def test_headers_beyond_every_bound_end_the_connection_with_a_reason(engine: MakeEngine) -> None:
    """GOAWAY with ENHANCE_YOUR_CALM, and the connection is closed."""

    def attempt(port: int) -> tuple[list[int], bool]:
        with RawConnection(f"127.0.0.1:{port}") as connection:
            block = request_headers("x", "/t/Empty", [(f"x-{number}", "y" * 9000) for number in range(8)])
            pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
            frames = [frame(HEADERS, END_STREAM, 1, pieces[0])]
            frames += [frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:-1]]
            connection.send(b"".join(frames) + frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))
            connection.read(lambda: connection.is_closed, 5.0)
            codes = [int.from_bytes(one.payload[4:8], "big") for one in connection.seen if one.kind == GOAWAY]
            return codes, connection.is_closed

    async with serving(Handlers().all(), engine) as (_, port):
        assert ([ENHANCE_YOUR_CALM], True) == await asyncio.to_thread(attempt, port)
