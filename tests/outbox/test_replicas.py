"""The rows of replicas: a dead one loses its ordering keys at once, and nothing that it says later counts."""

from __future__ import annotations

from gateway.outbox.record import Beat, End, Replica, Take, lease_id_of
from gateway.outbox.store import EventQueue
from tests.evidence.wallet_factory import soon
from tests.outbox.conftest import MakeQueue
from tests.outbox.event_factory import LEASE_US, TENANT, admit, delivered, ids, new_event, settle, take

NUMBER = 7


async def beat(queue: EventQueue, number: int = NUMBER, *, begins: bool = False) -> int:
    return await queue.beat(Beat(number=number, name="host/1", begins=begins), soon())


async def end(queue: EventQueue, beats: int | None, number: int = NUMBER) -> int:
    return await queue.end(End(number=number, beats=beats, tenants=(TENANT,)), soon())


async def take_as(queue: EventQueue, number: int, count: int = 0) -> tuple[int, list[str]]:
    lease_id = lease_id_of(number, count)
    taken = await queue.take(Take(tenant_id=TENANT, max_keys=9, lease_id=lease_id, lease_us=LEASE_US), soon())
    return lease_id, ids(taken)


async def test_beats_are_counted_for_their_number_alone(queue: EventQueue) -> None:
    """A number is given once; a beat of a number without a row is refused."""
    assert [1, 0, 1, 1] == [await beat(queue, begins=begins) for begins in (True, True, False, False)]
    assert 0 == await beat(queue, 8)
    assert [Replica(number=NUMBER, name="host/1", beats=2)] == await queue.replicas(soon())


async def test_a_dead_replica_loses_its_lanes_and_keeps_its_marks(make_queue: MakeQueue) -> None:
    """Another one sends the events; the late result of the dead one changes nothing."""
    dying, other = make_queue(), make_queue()
    await admit(dying, new_event("a1"), new_event("a2"), new_event("b1", "bob"))
    await beat(dying, begins=True)
    lease_id = lease_id_of(NUMBER, 0)
    old = await dying.take(Take(tenant_id=TENANT, max_keys=9, lease_id=lease_id, lease_us=LEASE_US), soon())
    assert 2 == await end(other, beats=0)
    new_lease, new = await take(other)
    assert ["a1", "b1"] == ids(new)
    assert [old.now_us] * 2 == [event.first_sent_at_us for event in new.events]
    assert 0 == await settle(dying, lease_id, *map(delivered, old.events))
    assert 0 == await beat(dying)
    assert 2 == await settle(other, new_lease, *map(delivered, new.events))


async def test_one_that_has_beaten_since_is_not_dead(make_queue: MakeQueue) -> None:
    """A verdict on beats that are no longer those of the row does nothing."""
    living, other = make_queue(), make_queue()
    await admit(living, new_event("a1"))
    await beat(living, begins=True)
    await beat(living)
    await take_as(living, NUMBER)
    assert 0 == await end(other, beats=0)
    assert [] == ids((await take(other))[1])
    assert 1 == await beat(living)


async def test_only_the_lanes_of_that_replica_are_freed(queue: EventQueue) -> None:
    """Not those of the neighbouring numbers, and not those of a gateway without a number."""
    for number in (NUMBER - 1, NUMBER, NUMBER + 1):
        await beat(queue, number, begins=True)
        await admit(queue, new_event(f"e{number}", f"u{number}"))
        assert [f"e{number}"] == (await take_as(queue, number, (1 << 32) - 1))[1]
    await admit(queue, new_event("old", "older-gateway"))
    await take(queue)
    assert 1 == await end(queue, beats=0)
    assert [f"e{NUMBER}"] == (await take_as(queue, 99))[1]


async def test_a_replica_that_leaves_gives_its_lanes_back(queue: EventQueue) -> None:
    """Whatever its beats."""
    await admit(queue, new_event("a1"))
    await beat(queue, begins=True)
    await beat(queue)
    await take_as(queue, NUMBER)
    assert 1 == await end(queue, beats=None)
    assert [] == await queue.replicas(soon())
    assert ["a1"] == ids((await take(queue))[1])
