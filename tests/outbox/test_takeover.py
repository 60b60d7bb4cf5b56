"""Leases that end before their time: of a gateway that dies, that stops, and that was held for dead.

The leases here last an hour, so whatever is delivered was not waiting for their end.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from pathlib import Path

from gateway.outbox.record import End
from gateway.phoenix.gamification.event_sender import SINGLE_CALLS
from tests.actions.events.gated_phoenix import TENANT, GatedPhoenix, soon
from tests.outbox.durable_gateway import QUICK, DurableGateway, drained, eventually, gateway_at, put

HOUR = dataclasses.replace(QUICK, lease_s=3600.0)
MORE = 8


async def crowded(path: Path, phoenix: GatedPhoenix, *, deduplicates: bool) -> tuple[DurableGateway, set[str]]:
    """A gateway that has leased more events than it may send at once. Return it, and the events not sent so far."""
    phoenix.is_open = False
    gateway = DurableGateway(path, phoenix, bulk=None, deduplicates=deduplicates, settings=HOUR)
    gateway.start()
    ids = [f"e{number}" for number in range(SINGLE_CALLS + MORE)]
    await put(gateway, *((event_id, event_id) for event_id in ids))
    await eventually(lambda: len(phoenix.ids) == SINGLE_CALLS)
    return gateway, set(ids) - set(phoenix.ids)


async def test_a_gateway_that_dies_loses_its_lanes_by_its_silence(path: Path) -> None:
    """The next one delivers its events, in the order of their user."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    dying = DurableGateway(path, phoenix, bulk=None, deduplicates=True, settings=HOUR)
    dying.start()
    await put(dying, ("a1", "ada"), ("a2", "ada"))
    await eventually(lambda: phoenix.ids == ["a1"])
    await dying.die()
    phoenix.let_go()
    async with gateway_at(path, phoenix, bulk=None, deduplicates=True, settings=HOUR) as gateway:
        await drained(gateway)
    assert ["a1", "a1", "a2"] == phoenix.ids


async def test_a_gateway_that_stops_gives_back_what_it_has_not_sent(path: Path) -> None:
    """Without a mark: even where Phoenix does not deduplicate, the next one sends it."""
    phoenix = GatedPhoenix()
    stopping, unsent = await crowded(path, phoenix, deduplicates=False)
    stop = asyncio.create_task(stopping.stop())
    stopping.delivery.drain()
    phoenix.let_go()
    await stop
    assert unsent.isdisjoint(phoenix.ids)
    async with gateway_at(path, phoenix, bulk=None, settings=HOUR) as gateway:
        await drained(gateway)
        assert [] == await gateway.dead_letters()
    assert {1} == set(Counter(phoenix.ids).values())


async def test_a_gateway_that_was_held_for_dead_sends_nothing_more_under_its_leases(path: Path) -> None:
    """It learns this by its next beat, takes another number, and may lease again."""
    phoenix = GatedPhoenix()
    paused, unsent = await crowded(path, phoenix, deduplicates=True)
    (row,) = await paused.queue.replicas(soon())
    verdict = End(number=row.number, beats=None, tenants=(TENANT,))
    assert SINGLE_CALLS + MORE == await paused.queue.end(verdict, soon())
    await paused.heart.step()
    (now,) = await paused.queue.replicas(soon())
    assert now.number != row.number
    phoenix.let_go()
    await drained(paused)
    sent = Counter(phoenix.ids)
    assert {1} == {sent[event_id] for event_id in unsent}
    assert {2} == {count for event_id, count in sent.items() if event_id not in unsent}
    await paused.stop()
