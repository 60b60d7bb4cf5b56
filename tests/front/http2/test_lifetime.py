"""How a connection ends: drain, idleness, silence, pings; both engines."""

from __future__ import annotations

import asyncio

import ngh2
import pytest
from google.protobuf.struct_pb2 import Struct

from gateway.actions.shared.call import Call
from gateway.front.http2.server import ServerBounds
from tests.front.http2.handlers import UNAVAILABLE, UNKNOWN, Handlers, MakeEngine, endpoint
from tests.front.http2.peer import connected, serving


async def test_a_drain_tells_twice_serves_what_is_under_way_and_closes(engine: MakeEngine) -> None:
    """The first GOAWAY names no stream, the second the last one; a call that came between them is served."""
    began, may_end = asyncio.Event(), asyncio.Event()

    async def under_way(request: Struct, call: Call) -> bytes:
        began.set()
        await may_end.wait()
        return b""

    async with serving([endpoint("/t/UnderWay", under_way)], engine) as (server, port), connected(port) as peer:
        before = peer.call("/t/UnderWay", b"")
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        await asyncio.wait_for(began.wait(), 5)
        draining = asyncio.create_task(server.drain(5.0))
        # libnghttp2 hears the second one only while a call is open.
        await peer.until(lambda: len(peer.of(ngh2.GoAwayReceived)) == 2)
        may_end.set()
        await peer.until(lambda: peer.status(before) is not None)
        first, second = peer.of(ngh2.GoAwayReceived)
        assert (2**31 - 1, before, 0) == (first.last_stream_id, second.last_stream_id, second.error_code)
        assert 0 == peer.status(before)
        await peer.until(lambda: peer.is_closed)
        await asyncio.wait_for(draining, 1)


@pytest.mark.parametrize(("path", "status"), [("/t/Hang", UNKNOWN), ("/t/Silent", UNAVAILABLE)])
async def test_a_drain_ends_what_does_not_end_by_itself_with_a_reason(
    engine: MakeEngine, path: str, status: int
) -> None:
    """Never a bare CANCELLED. Clients repeat UNAVAILABLE by themselves: only where nothing can be done twice."""
    handlers = Handlers()
    async with serving(handlers.all(), engine) as (server, port), connected(port) as peer:
        stream = peer.call(path, b"")
        await peer.until(handlers.began.is_set)
        draining = asyncio.create_task(server.drain(0.2))
        assert status == await peer.answered(stream)
        assert "stop" in peer.message(stream)
        await asyncio.wait_for(draining, 3)


async def test_a_drain_without_time_says_goaway_too(engine: MakeEngine) -> None:
    """A client that loses its connection without a word does not know whether its calls were read."""
    async with serving(Handlers().all(), engine) as (server, port), connected(port) as peer:
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        await asyncio.wait_for(server.drain(0), 3)
        await peer.until(lambda: peer.is_closed)
        assert peer.of(ngh2.GoAwayReceived)


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


async def test_pings_after_data_are_no_abuse(engine: MakeEngine) -> None:
    """Clients measure their bandwidth with them: one ping for each message of a stream keeps the connection."""
    async with serving(Handlers().all(), engine) as (_, port), connected(port) as peer:
        stream = peer.call("/t/Count", end=False)
        for number in range(1, 21):
            peer.connection.send_data(stream, bytes(5))
            await peer.until(lambda: len(peer.of(ngh2.DataReceived)) >= number)  # noqa: B023
            peer.connection.ping(b"12345678")
            await peer.until(lambda: len(peer.of(ngh2.PingAcknowledged)) >= number)  # noqa: B023
        assert [] == peer.goaways()
        peer.connection.end_stream(stream)
        assert 0 == await peer.answered(stream)


async def test_a_connection_that_was_busy_for_long_is_not_idle_at_once(engine: MakeEngine) -> None:
    """Idle time counts from the end of the last call, however long the client had been silent."""
    bounds = ServerBounds(idle_s=0.4)
    async with serving(Handlers().all(), engine, bounds=bounds) as (server, port), connected(port) as peer:
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        assert 0 == await peer.answered(peer.call("/t/Long", b""))
        server._check_connections()
        await peer.until(lambda: True)
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))
        assert [] == peer.goaways()


async def test_an_old_connection_takes_no_new_calls_and_finishes_those_it_has(engine: MakeEngine) -> None:
    """Two GOAWAYs; a call under way is answered, then the connection closes."""
    bounds = ServerBounds(age_s=0.05)
    async with serving(Handlers().all(), engine, bounds=bounds) as (server, port), connected(port) as peer:
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        stream = peer.call("/t/Long", b"")
        await peer.until(lambda: True)
        await asyncio.sleep(0.1)
        server._check_connections()
        assert 0 == await peer.answered(stream)
        await peer.until(lambda: peer.is_closed)
        assert [(2**31 - 1, 0), (stream, 0)] == peer.goaways()


async def test_the_grace_of_an_old_connection_ends(engine: MakeEngine) -> None:
    """A stream without end holds no connection for ever."""
    bounds = ServerBounds(age_s=0.05, age_grace_s=0.05)
    async with serving(Handlers().all(), engine, bounds=bounds) as (server, port), connected(port) as peer:
        peer.call("/t/Silent", b"")
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        await asyncio.sleep(0.15)
        server._check_connections()
        await peer.until(lambda: peer.is_closed)
        assert peer.is_closed
