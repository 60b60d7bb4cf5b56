"""One client's frames take a bounded time of each turn of the loop, whatever it sends at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.front.http2.admission import Admission, AdmissionSettings
from gateway.front.http2.fair_queue import Priority
from gateway.front.http2.gate import Gate
from gateway.front.http2.inflow import (
    FEWEST_BYTES,
    FIRST_BYTES,
    LATE_S,
    MOST_BYTES,
    REFUSED_S,
    SLOW_S,
    TURN_S,
    Inflow,
)
from tests.manual_clock import ManualClock


async def test_a_client_whose_frames_take_long_is_read_on_in_the_next_turn() -> None:
    """Each piece takes more than a turn has: at most one a turn, smaller and smaller, in order, and all in the end."""
    clock, taken, sizes = ManualClock(), bytearray(), list[int]()

    def receive(piece: bytes) -> bool:
        taken.extend(piece)
        sizes.append(len(piece))
        clock.advance(2 * TURN_S)
        return True

    inflow = Inflow(Gate(clock).reads, receive, lambda: None, clock.monotonic)
    sent = b"".join(bytes((number,)) * FEWEST_BYTES for number in range(100))
    inflow.take(sent)
    assert [FIRST_BYTES] == sizes
    inflow.take(b"the next read")
    for turn in range(200):
        assert len(sizes) <= turn + 1
        await asyncio.sleep(0)
    assert FEWEST_BYTES == max(sizes[4:])
    assert sent + b"the next read" == bytes(taken)


async def test_clients_that_have_much_to_read_take_turns() -> None:
    """One piece of each after the other, and a third one that sends little waits for none of them."""
    clock, order = ManualClock(), list[str]()
    gate = Gate(clock)

    def client(name: str) -> Inflow:
        def receive(piece: bytes) -> bool:
            order.append(name)
            clock.advance(2 * TURN_S)
            return True

        return Inflow(gate.reads, receive, lambda: None, clock.monotonic)

    client("a").take(bytes(2048))
    client("b").take(bytes(2048))
    client("quiet").take(b"little")
    assert ["a", "b", "quiet"] == order
    for _ in range(20):
        await asyncio.sleep(0)
    assert ["a", "b"] * 2 == order[3:7]


async def test_clients_that_cancel_too_much_are_read_seldom() -> None:
    """One of them at a time, in turns, while another one that has much to read is read in each turn of the loop."""
    clock, order = ManualClock(), list[str]()
    gate = Gate(clock)

    def client(name: str, *, cancels: bool = False) -> Inflow:
        def receive(piece: bytes) -> bool:
            order.append(name)
            inflow.cancels_too_much = cancels
            clock.advance(2 * TURN_S)
            return True

        inflow = Inflow(gate.reads, receive, lambda: None, clock.monotonic)
        return inflow

    for name in ("a", "b"):
        client(name, cancels=True).take(bytes(10 * FIRST_BYTES))
    client("busy").take(bytes(FIRST_BYTES + 40 * FEWEST_BYTES))
    await _until(lambda: order.count("busy") > 10)
    assert order.count("a") + order.count("b") < 5
    await _until(lambda: order.count("b") > 1)
    assert ["a", "b", "a", "b"] == [name for name in order if name != "busy"][:4]
    gate.stop()


async def test_a_client_that_reads_its_fill_stops_before_a_piece_too_many() -> None:
    """Pieces of two fifths of its time: two in a turn, not three."""
    clock, taken = ManualClock(), list[int]()

    def receive(piece: bytes) -> bool:
        taken.append(len(piece))
        clock.advance(0.4 * TURN_S)
        return True

    gate = Gate(clock)
    Inflow(gate.reads, receive, lambda: None, clock.monotonic).take(bytes(10 * FIRST_BYTES))
    assert 2 == len(taken)
    gate.stop()


def test_frames_that_take_little_are_read_at_once() -> None:
    """A long message waits for no turn, and its pieces become larger."""
    taken: list[int] = []

    def receive(piece: bytes) -> bool:
        taken.append(len(piece))
        return True

    clock = ManualClock()
    Inflow(Gate(clock).reads, receive, lambda: None, clock.monotonic).take(bytes(10 * MOST_BYTES))
    assert 10 * MOST_BYTES == sum(taken)
    assert MOST_BYTES == max(taken)


def test_what_has_failed_is_read_no_further() -> None:
    """Nor is what it sends after that, or before the transport knows."""
    taken: list[bytes] = []

    def receive(piece: bytes) -> bool:
        taken.append(piece)
        return False

    clock = ManualClock(monotonic=SLOW_S)
    Inflow(Gate(clock).reads, receive, lambda: None, clock.monotonic).take(bytes(3 * FIRST_BYTES))
    assert [FIRST_BYTES] == [len(one) for one in taken]


@dataclass(eq=False)
class _Waiting:
    deadline_at: float = 1e9


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - turns of the loop and its timers are what it waits for
            await asyncio.sleep(0.001)


async def test_a_client_whose_call_was_refused_is_read_a_little_later() -> None:
    """So that several of its calls are refused together, also where some were not; at once where nothing waits for its
    start, and once nothing of its was refused for a while."""
    clock, taken = ManualClock(), list[bytes]()
    admission: Admission[Any] = Admission(AdmissionSettings(first_limit=0.0, min_limit=0.0))
    admission.cost_s = 1.0
    gate = Gate(clock, admission=admission)

    def receive(piece: bytes) -> bool:
        taken.append(piece)
        inflow.was_refused = refuses
        return True

    refuses = True
    inflow = Inflow(gate.reads, receive, lambda: None, clock.monotonic)
    for piece in (b"1", b"2", b"3"):
        inflow.take(piece)
    await _until(lambda: taken == [b"1", b"23"])
    for _ in range(3):
        admission.offer(_Waiting(), "a", Priority.READ, clock.monotonic())
    inflow.take(b"4")
    await _until(lambda: taken == [b"1", b"23", b"4"])
    inflow.take(b"5")
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert [b"1", b"23", b"4"] == taken
    refuses = False
    clock.advance(0.01)
    await _until(lambda: taken == [b"1", b"23", b"4", b"5"])
    inflow.take(b"6")
    inflow.take(b"7")
    assert b"5" == taken[-1]
    clock.advance(REFUSED_S)
    await _until(lambda: taken[-1] == b"67")
    for piece in (b"8", b"9"):
        inflow.take(piece)
        assert piece == taken[-1]
    gate.stop()


class _Socket(asyncio.Transport):
    """Counts how often it is read again."""

    resumed = 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        self.resumed += 1


async def test_sockets_that_were_full_are_read_again_one_in_a_turn() -> None:
    """The kernel takes long for each. Those that brought little are read again together."""
    clock = ManualClock()

    def refused_client(gate: Gate, socket: _Socket) -> Inflow:
        def receive(piece: bytes) -> bool:
            inflow.was_refused = True
            return True

        inflow = Inflow(gate.reads, receive, lambda: None, clock.monotonic)
        inflow.open(socket)
        return inflow

    async def resumed_in_a_turn(brought: int) -> int:
        gate, sockets = Gate(clock), [_Socket() for _ in range(8)]
        for socket in sockets:
            refused_client(gate, socket).take(bytes(brought))
        most = before = 0
        async with asyncio.timeout(10):
            while before < len(sockets):
                await asyncio.sleep(0)
                resumed = sum(socket.resumed for socket in sockets)
                most, before = max(most, resumed - before), resumed
        gate.stop()
        return most

    assert 1 == await resumed_in_a_turn(256 * 1024)
    assert 8 == await resumed_in_a_turn(100)


async def test_a_client_that_brings_more_than_is_read_is_parked_and_is_late_until_it_has_caught_up() -> None:
    """Only where its calls are refused: a long message or a stream is never parked. Until it has, others go first."""
    clock = ManualClock()
    settings = AdmissionSettings(first_limit=0.0, min_limit=0.0, burst=0, patience_s=0.0, calm_s=60.0, max_wait_s=60.0)
    admission: Admission[Any] = Admission(settings)
    admission.cost_s = 1.0
    gate = Gate(clock, admission=admission)
    late = list[bool]()

    def client(*, refused: bool) -> Inflow:
        def receive(piece: bytes) -> bool:
            inflow.was_refused = refused
            late.append(inflow.is_late)
            clock.advance(2 * TURN_S)
            return True

        inflow = Inflow(gate.reads, receive, lambda: None, clock.monotonic)
        return inflow

    def lags(inflow: Inflow) -> bool:
        return inflow.is_late

    for _ in range(8):
        admission.offer(_Waiting(), "a", Priority.READ, clock.monotonic())
    message, flood = client(refused=False), client(refused=True)
    for one in (message, flood):
        one.take(bytes(1000 * FIRST_BYTES))
    await _until(lambda: len(late) > 20)
    assert admission.is_overloaded(clock.monotonic())
    clock.advance(LATE_S)
    await _until(lambda: gate.reads.has_parked)
    assert lags(flood)
    assert not lags(message)
    flood.closed()
    message.closed()
    late.clear()
    clock.advance(31.0)
    await _until(lambda: not gate.reads.has_parked)
    busy = client(refused=False)
    busy.take(bytes(1000 * FIRST_BYTES))
    flood.take(bytes(50 * FEWEST_BYTES))
    await _until(lambda: late.count(True) == 50)
    assert late.count(False) > 100
    assert lags(flood)
    flood.take(bytes(FEWEST_BYTES))
    await _until(lambda: late.count(True) == 51)
    assert not lags(flood)
    busy.closed()
    gate.stop()
