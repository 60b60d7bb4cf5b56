"""Calls that their callers cancel leave nothing behind, however many they are; both engines."""

from __future__ import annotations

import asyncio
import gc
import resource

import ngh2
import pytest

from tests.front.http2.handlers import Handlers, MakeEngine
from tests.front.http2.peer import Peer, connected, serving

AT_ONCE = 100


async def cancel(peer: Peer, rounds: int) -> None:
    """Make calls of each shape, let them start, and reset them, no faster than a client may."""
    await peer.until(lambda: peer.of(ngh2.SettingsReceived))
    for number in range(rounds):
        began = asyncio.get_running_loop().time()
        path = ("/t/Hang", "/t/Silent", "/t/ReadsNone")[number % 3]
        streams = [
            peer.call(path, b"", end=path != "/t/ReadsNone", extra=[(b"grpc-timeout", b"60S")]) for _ in range(AT_ONCE)
        ]
        await peer.until(lambda: True)
        await asyncio.sleep(0.02)
        for stream in streams:
            peer.connection.reset_stream(stream)
        await peer.until(lambda: True)
        peer.events.clear()
        await asyncio.sleep(max(0.0, AT_ONCE / 900 - (asyncio.get_running_loop().time() - began)))


async def leaves_nothing(engine: MakeEngine, connections: int, rounds: int) -> None:
    """Cancel so many rounds on each connection; then no task, deadline, stream or place is left."""
    async with serving(Handlers().all(), engine) as (server, port):
        before = asyncio.all_tasks()
        for _ in range(connections):
            async with connected(port) as peer:
                await cancel(peer, rounds)
                assert 0 == await peer.answered(peer.call("/t/Empty", b""))
                (connection,) = server._connections
                await asyncio.sleep(0.1)
                assert {} == connection.streams
                assert not [one for one in peer.events if isinstance(one, ngh2.GoAwayReceived)]
            await asyncio.sleep(0.05)
        gc.collect()
        slots = server.calls._deadlines._slots
        left = (
            asyncio.all_tasks() - before,
            sum(map(len, slots.values())),
            server.gate.running,
            len(server._connections),
        )
        assert (set(), 0, 0, 0) == left


async def test_a_thousand_cancelled_calls_leave_nothing(engine: MakeEngine) -> None:
    """Unary calls, streams of answers and streams that nobody reads; a client that cancels much is served on."""
    await leaves_nothing(engine, 2, 6)


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_a_hundred_thousand_cancelled_calls_leave_nothing(engine: MakeEngine) -> None:
    """As above; the memory of the process does not grow with them."""
    await leaves_nothing(engine, 1, 50)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await leaves_nothing(engine, 10, 100)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before_kib + 60_000
