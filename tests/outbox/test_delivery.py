"""Background delivery with a real store: order, batches, leases, two gateways, and what a queue refuses."""

from __future__ import annotations

import asyncio
import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.core.wire import BulkEnvelope
from gateway.errors import Overloaded, StoreUnavailable
from gateway.outbox.queue_level import QueueBound
from tests.actions.events.gated_phoenix import GatedPhoenix, call, event
from tests.outbox.durable_gateway import (
    BULK,
    QUICK,
    DurableGateway,
    drained,
    eventually,
    gateway_at,
    orders,
    put,
    said,
)


@pytest.mark.parametrize("bulk", BULK)
async def test_each_users_events_arrive_in_order_and_once(path: Path, bulk: BulkEnvelope | None) -> None:
    """Across calls, in bulk and singly."""
    phoenix = GatedPhoenix()
    async with gateway_at(path, phoenix, bulk=bulk) as gateway:
        for start in range(0, 120, 40):
            pairs = [(f"{n:03}", f"u{n % 7}") for n in range(start, start + 40)]
            assert {"queued"} == set(await put(gateway, *pairs))
        await drained(gateway)
    assert sorted(phoenix.ids) == [f"{n:03}" for n in range(120)]
    assert all(one < two for order in orders(phoenix).values() for one, two in pairwise(order))
    assert {"queued": 120, "delivered": 120} == dict(gateway.counts)


async def test_events_of_different_users_leave_together(path: Path) -> None:
    """As many in a call as it takes."""
    phoenix = GatedPhoenix()
    async with gateway_at(path, phoenix) as gateway:
        await put(gateway, *((f"e{n}", f"u{n}") for n in range(250)))
        await drained(gateway)
    assert [100, 100, 50] == [len(ids) for _, ids in phoenix.calls]


async def test_an_event_is_answered_before_it_is_delivered(path: Path) -> None:
    """While Phoenix takes its time."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    async with gateway_at(path, phoenix) as gateway:
        assert ["queued"] == await put(gateway, ("a1", "ada"))
        await eventually(lambda: phoenix.ids == ["a1"])
        assert ["duplicate", "EVENT_ID_REUSED"] == await put(gateway, ("a1", "ada"), ("a1", "bob"))
        phoenix.let_go()
        await drained(gateway)
        assert ["duplicate"] == await put(gateway, ("a1", "ada"))
    assert ["a1"] == phoenix.ids


async def test_a_lease_lets_callers_go_first_but_not_for_ever(path: Path) -> None:
    """While calls wait for the store or for Phoenix, it waits, at most for its time."""
    phoenix = GatedPhoenix()
    looks: list[bool] = []
    waits = True

    def callers_wait() -> bool:
        looks.append(waits)
        return waits

    patient = dataclasses.replace(QUICK, yield_s=3600.0)
    async with gateway_at(path, phoenix, callers_wait=callers_wait, settings=patient) as gateway:
        await put(gateway, ("e1", "ada"))
        await eventually(lambda: len(looks) > 5)
        assert [] == phoenix.ids
        waits = False
        await drained(gateway)
    brief = dataclasses.replace(QUICK, yield_s=0.02)
    async with gateway_at(path, phoenix, callers_wait=lambda: True, settings=brief) as gateway:
        await put(gateway, ("e2", "ada"))
        await drained(gateway)
    assert ["e1", "e2"] == phoenix.ids


async def test_a_clean_stop_finishes_what_is_under_way_and_takes_nothing_more(path: Path) -> None:
    """What it leaves behind is untouched, and due at once for the next gateway."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    gateway = DurableGateway(path, phoenix, bulk=None)
    gateway.start()
    await put(gateway, ("a1", "ada"), ("a2", "ada"))
    await eventually(lambda: phoenix.ids == ["a1"])
    stopping = asyncio.create_task(gateway.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    phoenix.let_go()
    await stopping
    assert ["a1"] == phoenix.ids
    async with gateway_at(path, phoenix, bulk=None) as other:
        await drained(other)
        assert [] == await other.dead_letters()
    assert ["a1", "a2"] == phoenix.ids


async def test_two_gateways_deliver_each_event_once(path: Path) -> None:
    """From one store, with each user's order, whichever of them took an event in."""
    phoenix = GatedPhoenix()
    async with gateway_at(path, phoenix) as one, gateway_at(path, phoenix) as two:
        for start in range(0, 200, 20):
            pairs = [(f"{n:03}", f"u{n % 9}") for n in range(start, start + 20)]
            reported = await asyncio.gather(put(one, *pairs), put(two, *pairs))
            assert [["duplicate", "queued"]] * 20 == [sorted(each) for each in zip(*reported, strict=True)]
        await drained(one)
    assert sorted(phoenix.ids) == [f"{n:03}" for n in range(200)]
    assert all(first < second for order in orders(phoenix).values() for first, second in pairwise(order))


async def test_a_full_queue_refuses_with_a_time_to_wait(path: Path) -> None:
    """And takes events in again once there is room."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    async with gateway_at(path, phoenix, bound=QueueBound(max_events=3)) as gateway:
        await put(gateway, ("a1", "ada"), ("b1", "bob"))
        with pytest.raises(Overloaded) as refusal:
            await put(gateway, ("c1", "cid"), ("d1", "dan"))
        assert refusal.value.retry_after_s is not None
        assert ["queued"] == await put(gateway, ("c1", "cid"))
        phoenix.let_go()
        await drained(gateway)
        await eventually(lambda: gateway.level.events == 0)
        assert ["queued"] == await put(gateway, ("d1", "dan"))


async def test_a_store_that_is_gone_is_each_events_failure(path: Path) -> None:
    """The caller may send them again under the same ids."""
    phoenix = GatedPhoenix()
    gateway = DurableGateway(path, phoenix)
    gateway.start(delivers=False)
    assert ["queued"] == await put(gateway, ("a1", "ada"))
    path.unlink()  # noqa: ASYNC240 - a moment's work
    assert ["STORE_UNAVAILABLE"] * 2 == await put(gateway, ("a2", "ada"), ("b1", "bob"))
    with pytest.raises(StoreUnavailable):
        await gateway.submit.one("", event("a3"), call(30.0), is_id_given=True, durable=True)
    await gateway.stop()


async def test_messages_of_a_stream_are_committed_in_their_order(path: Path) -> None:
    """Durable ones too: each user's events arrive as they were sent."""
    phoenix = GatedPhoenix()
    async with gateway_at(path, phoenix) as gateway:
        stream = gateway.submit.stream(call(30.0))
        begun = [
            await stream.begin(
                "", [event(f"{number:02}-{n}", f"u{n % 2}") for n in range(6)], set(range(6)), durable=True
            )
            for number in range(10)
        ]
        for one in begun:
            assert ["queued"] * 6 == [said(result) for result in await one]
        await drained(gateway)
    assert all(one < two for order in orders(phoenix).values() for one, two in pairwise(order))
    assert 60 == len(phoenix.ids)
