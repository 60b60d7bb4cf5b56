"""The gate on real sockets: how a flood is answered, and that another caller is served beside it; both engines."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import ngh2
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2

from gateway.actions.shared.call import Call
from gateway.actions.shared.call import Peer as SocketPeer
from gateway.front.http2.admission import Admission, AdmissionSettings
from gateway.front.http2.gate import Gate
from gateway.front.http2.stream import Stream
from gateway.resilience.clock import SystemClock
from tests.front.http2.handlers import Handlers, MakeEngine
from tests.front.http2.peer import Peer, connected, serving

FLOOD = 1000
ONE_IN_A_TURN = AdmissionSettings(burst=0, patience_s=0.0, calm_s=60.0, window_s=1e9)


class SteadyClock(SystemClock):
    """Goes on by 10 us whenever it is read, so that a turn of reading takes as many calls on every machine."""

    def __init__(self) -> None:
        self._now_s = time.monotonic()

    def monotonic(self) -> float:
        self._now_s += 10e-6
        return self._now_s


class CountedTurns(Admission[Stream]):
    """Counts the turns in which calls may start."""

    turns = 0

    def turn(self, now: float, cpu_s: float = 0.0) -> tuple[list[Stream], list[Stream]]:
        self.turns += 1
        return super().turn(now, cpu_s)


class NotedStarts(CountedTurns):
    """Notes in which turn a call started before others that waited, until it is asked."""

    started_in: int | None = None

    def offer(self, *args: Any, **kwargs: Any) -> tuple[bool, list[Stream]]:
        starts, refused = super().offer(*args, **kwargs)
        if starts:
            self.started_in = self.turns
        return starts, refused


class NotedHandlers(Handlers):
    """Notes the turns between the start of a call and its first step."""

    def __init__(self, admission: NotedStarts) -> None:
        super().__init__()
        self._admission = admission
        self.waited: list[int] = []

    async def empty(self, request: Struct, call: Call) -> bytes:
        if self._admission.started_in is not None:
            self.waited.append(self._admission.turns - self._admission.started_in)
            self._admission.started_in = None
        return await super().empty(request, call)


def overloaded_gate(admission: Admission[Stream] | None = None) -> Gate:
    """A gate that starts one call in a turn, and for which a few waiting calls are overload."""
    admission = admission or CountedTurns(ONE_IN_A_TURN)
    admission.cost_s = 1.0
    admission.turn(0.0)
    return Gate(SystemClock(), admission=admission)


def statuses(peer: Peer) -> Counter[bytes]:
    """How many calls ended with which status."""
    ended = [event for event in peer.events if isinstance(event, ngh2.TrailersReceived | ngh2.ResponseReceived)]
    return Counter(value for event in ended for name, value in event.headers if name == b"grpc-status")


@contextlib.asynccontextmanager
async def flooded(
    gate: Gate, engine: MakeEngine, quiet_handlers: Handlers
) -> AsyncIterator[tuple[Peer, Peer, asyncio.Task[None]]]:
    """A caller that has sent `FLOOD` calls, a quiet one on a listener of its own, and the wait for all the answers."""
    loudly, quietly = (SocketPeer(address="", caller=name) for name in ("loud", "quiet"))
    async with (
        serving(Handlers().all(), engine, gate=gate, named=loudly, clock=SteadyClock()) as (_, loud_port),
        serving(quiet_handlers.all(), engine, gate=gate, named=quietly, clock=SteadyClock()) as (_, quiet_port),
        connected(loud_port) as loud,
        connected(quiet_port) as quiet,
    ):
        await loud.until(lambda: loud.of(ngh2.SettingsReceived))
        for _ in range(FLOOD):
            loud.call("/t/Empty", b"")
        yield loud, quiet, asyncio.create_task(loud.until(lambda: statuses(loud).total() == FLOOD, 20.0))


async def test_a_flood_is_refused_and_another_caller_is_served(engine: MakeEngine) -> None:
    """Every call of the flood hears OVERLOADED or its answer; the other listener's calls are all answered meanwhile.

    One call starts in a turn.
    """
    admission = CountedTurns(ONE_IN_A_TURN)
    gate = overloaded_gate(admission)
    async with flooded(gate, engine, Handlers()) as (loud, quiet, flooding):
        answered = [await quiet.answered(quiet.call("/t/Empty", b"")) for _ in range(20)]
        await flooding
        assert [0] * 20 == answered
        assert {b"0", b"8"} == set(statuses(loud))
        assert statuses(loud)[b"0"] + len(answered) <= admission.turns
        assert FLOOD * 0.8 < statuses(loud)[b"8"]
        assert 0 == gate.running


async def test_no_turn_of_a_flood_lies_between_a_modest_call_and_its_first_step(engine: MakeEngine) -> None:
    """The turn that was due waits until the call has run."""
    admission = NotedStarts(ONE_IN_A_TURN)
    gate, quiet_handlers = overloaded_gate(admission), NotedHandlers(admission)
    async with flooded(gate, engine, quiet_handlers) as (_, quiet, flooding):
        while not flooding.done():
            await quiet.answered(quiet.call("/t/Empty", b""))
        await flooding
        assert quiet_handlers.waited
        assert {0} == set(quiet_handlers.waited)


async def test_a_refusal_says_what_to_do(engine: MakeEngine) -> None:
    """OVERLOADED with its details, a pushback, and the caller's own request id."""
    gate = overloaded_gate()
    async with serving(Handlers().all(), engine, gate=gate) as (_, port), connected(port) as peer:
        await peer.until(lambda: peer.of(ngh2.SettingsReceived))
        calls = [peer.call("/t/Empty", b"", extra=[(b"x-request-id", b"id-%d" % number)]) for number in range(20)]
        await peer.until(lambda: statuses(peer).total() == len(calls))
        refusals = [
            dict(event.headers) for event in peer.of(ngh2.ResponseReceived) if dict(event.headers).get(b"grpc-status")
        ]
        assert refusals
        for fields in refusals:
            assert b"8" == fields[b"grpc-status"]
            assert fields[b"x-request-id"].startswith(b"id-")
            assert fields[b"grpc-message"]
            details = base64.b64decode(fields[b"grpc-status-details-bin"] + b"==")
            retry = error_details_pb2.RetryInfo()
            assert any(one.Unpack(retry) for one in status_pb2.Status.FromString(details).details)
            assert retry.retry_delay.ToMilliseconds() == int(fields[b"grpc-retry-pushback-ms"]) > 0


async def test_streams_pass_beside_the_gate(engine: MakeEngine) -> None:
    """They are bounded by what they carry."""
    gate = overloaded_gate()
    async with serving(Handlers().all(), engine, gate=gate) as (_, port), connected(port) as peer:
        for _ in range(20):
            peer.call("/t/Empty", b"")
        began = time.monotonic()
        assert 0 == await peer.answered(peer.call("/t/Count", b""))
        assert time.monotonic() - began < 2
