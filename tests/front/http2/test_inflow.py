"""One client's frames take a bounded time of each turn of the loop, whatever it sends at once."""

from __future__ import annotations

import asyncio

from gateway.front.http2.gate import Gate
from gateway.front.http2.inflow import PIECE_BYTES, TURN_S, Inflow
from tests.manual_clock import ManualClock


async def test_a_client_whose_frames_take_long_is_read_on_in_the_next_turn() -> None:
    """Each piece takes more than a turn has: one piece a turn, in order, and all of them in the end."""
    clock, taken = ManualClock(), bytearray()

    def receive(piece: bytes) -> bool:
        taken.extend(piece)
        clock.advance(2 * TURN_S)
        return True

    inflow = Inflow(Gate(clock), receive, clock.monotonic)
    sent = b"".join(bytes((number,)) * PIECE_BYTES for number in range(5))
    inflow.take(sent)
    inflow.take(b"the next read")
    seen: list[int] = []
    while len(taken) < len(sent) + 13 and len(seen) < 20:
        seen.append(len(taken))
        await asyncio.sleep(0)
    assert PIECE_BYTES == seen[0]
    assert len(seen) >= 5
    assert sent + b"the next read" == bytes(taken)


def test_frames_that_take_little_are_read_at_once() -> None:
    """A long message waits for no turn."""
    taken: list[int] = []

    def receive(piece: bytes) -> bool:
        taken.append(len(piece))
        return True

    clock = ManualClock()
    Inflow(Gate(clock), receive, clock.monotonic).take(bytes(10 * PIECE_BYTES))
    assert 10 * [PIECE_BYTES] == taken
