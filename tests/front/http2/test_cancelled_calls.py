"""Calls that their callers cancel leave nothing behind, however many they are; both engines."""

from __future__ import annotations

import asyncio
import gc
import itertools
import resource
from collections.abc import Callable, Sequence

import ngh2
import pytest

from gateway.actions.shared.call import Peer as Caller
from gateway.front.http2.cancellations import AT_ONCE as CANCELS_AT_ONCE
from gateway.front.http2.cancellations import Cancellations
from gateway.front.http2.gate import CallerOf, Gate, caller_of_peer
from gateway.front.http2.paced_readers import PacedReaders
from gateway.resilience.clock import SystemClock
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
    """Cancel so many rounds on each connection; then no task, deadline, stream or place is left.

    Each call has a caller of its own, so that none cancels too many.
    """
    numbers = itertools.count()
    gate = Gate(SystemClock(), caller_of=lambda peer, forwarded: str(next(numbers)))
    async with serving(Handlers().all(), engine, gate=gate) as (server, port):
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


class _Noting(PacedReaders):
    """Counts how often a connection was to be read seldom."""

    added = 0

    def add(self, read_on: Callable[[], bool]) -> None:
        self.added += 1
        super().add(read_on)


def noting_gate(caller_of: CallerOf = caller_of_peer) -> tuple[Gate, _Noting]:
    """A gate that counts alike on a slow machine: nothing is forgiven, and no call gets too old."""
    gate = Gate(SystemClock(), caller_of=caller_of, cancellations=Cancellations(per_s=0, young_s=3600))
    gate.reads.paced = noting = _Noting()
    return gate, noting


async def cancel_at_once(peer: Peer, number: float, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """As fast as the client can; then see that it is served. Args: `extra`: headers."""
    await peer.until(lambda: peer.of(ngh2.SettingsReceived))
    for _ in range(int(number) // 50):
        streams = [peer.call("/t/Hang", b"", extra=extra) for _ in range(50)]
        await peer.until(lambda: True)
        for stream in streams:
            peer.connection.reset_stream(stream)
        await peer.until(lambda: True)
    assert 0 == await peer.answered(peer.call("/t/Empty", b""), 30.0)


async def test_who_cancels_more_than_is_answered_is_read_seldom(engine: MakeEngine) -> None:
    """And is served on. Its next connection is read seldom at once, the connection of another caller is not."""
    (gate, paced), handlers = noting_gate(), Handlers().all()
    async with (
        serving(handlers, engine, gate=gate, named=Caller(address="", caller="greedy")) as (_, port),
        serving(handlers, engine, gate=gate, named=Caller(address="", caller="other")) as (_, other_port),
    ):
        for client_port, number, reads_seldom in (
            (port, CANCELS_AT_ONCE - 50, False),
            (port, CANCELS_AT_ONCE, True),
            (other_port, 50, False),
            (port, 50, True),
        ):
            paced.added = 0
            async with connected(client_port) as peer:
                await cancel_at_once(peer, number)
            assert reads_seldom == bool(paced.added)


async def test_who_shares_a_proxys_connection_does_not_slow_it(engine: MakeEngine) -> None:
    """Others would wait for the one who cancels."""
    gate, paced = noting_gate(lambda peer, forwarded: forwarded or peer.caller)
    proxy, greedy = Caller(address="", caller="proxy"), [(b"x-forwarded-client-cert", b"greedy")]
    async with serving(Handlers().all(), engine, gate=gate, named=proxy) as (_, port):
        async with connected(port) as peer:
            await cancel_at_once(peer, CANCELS_AT_ONCE + 200, greedy)
        assert 0 == paced.added
        async with connected(port) as peer:
            await cancel_at_once(peer, CANCELS_AT_ONCE + 200)
        assert 0 < paced.added


async def test_who_cancels_half_of_its_calls_is_read_as_any_other(engine: MakeEngine) -> None:
    """As clients do that hedge."""
    gate, paced = noting_gate()
    async with serving(Handlers().all(), engine, gate=gate) as (_, port), connected(port) as peer:
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        for _ in range(int(CANCELS_AT_ONCE) // AT_ONCE + 1):
            hanging = []
            for _ in range(AT_ONCE):
                peer.call("/t/Empty", b"")
                hanging.append(peer.call("/t/Hang", b""))
            assert 0 == await peer.answered(peer.call("/t/Empty", b""), 30.0)
            for stream in hanging:
                peer.connection.reset_stream(stream)
            peer.events.clear()
        assert 0 == await peer.answered(peer.call("/t/Empty", b""))
        assert 0 == paced.added


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_a_hundred_thousand_cancelled_calls_leave_nothing(engine: MakeEngine) -> None:
    """As above; the memory of the process does not grow with them."""
    await leaves_nothing(engine, 1, 50)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await leaves_nothing(engine, 10, 100)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before_kib + 60_000
