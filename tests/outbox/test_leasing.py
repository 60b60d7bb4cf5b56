"""Leasing and settling: one event of each ordering key is out at a time, and a mark is left before it goes."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from gateway.core.types import TenantId
from gateway.outbox.record import Release, Take
from gateway.outbox.store import EventQueue
from tests.evidence.wallet_factory import soon
from tests.manual_clock import ManualClock
from tests.outbox.conftest import MakeQueue
from tests.outbox.event_factory import LEASE_US, TENANT, admit, again, dead, delivered, ids, new_event, settle, take


async def test_one_event_of_each_ordering_key_is_taken(queue: EventQueue) -> None:
    """The first; the next one once that is settled. The same user on another board is another ordering key."""
    await admit(queue, new_event("a1"), new_event("a2"), new_event("b1", "bob"), new_event("c1", board="daily"))
    lease, taken = await take(queue)
    assert ["a1", "b1", "c1"] == ids(taken)
    assert [] == ids((await take(queue))[1])
    await settle(queue, lease, *(delivered(event) for event in taken.events))
    assert ["a2"] == ids((await take(queue))[1])


async def test_a_dead_letter_does_not_block_its_user(queue: EventQueue) -> None:
    """The next event of the ordering key is due at once."""
    await admit(queue, new_event("a1"), new_event("a2"))
    lease, taken = await take(queue)
    await settle(queue, lease, dead(taken.events[0]))
    assert ["a2"] == ids((await take(queue))[1])


async def test_an_event_that_waits_holds_back_its_ordering_key_alone(queue: EventQueue, clock: ManualClock) -> None:
    """And comes again, before the later ones, when its time is there."""
    await admit(queue, new_event("a1"), new_event("a2"), new_event("b1", "bob"), new_event("b2", "bob"))
    lease, taken = await take(queue)
    await settle(queue, lease, again(taken.events[0], 30.0), delivered(taken.events[1]))
    lease, taken = await take(queue)
    assert ["b2"] == ids(taken)
    await settle(queue, lease, delivered(taken.events[0]))
    _, nothing = await take(queue)
    assert nothing.next_due_us == nothing.now_us + 30_000_000
    clock.advance(30.0)
    _, taken = await take(queue)
    assert ["a1"] == ids(taken)
    assert 2 == taken.events[0].attempts


async def test_a_mark_of_the_first_sending_is_there_before_anything_is_sent(
    make_queue: MakeQueue, clock: ManualClock
) -> None:
    """A crashed gateway leaves its lease. The gateway that takes over at its end sees the time."""
    dying, other = make_queue(), make_queue()
    await admit(dying, new_event("a1"), new_event("a2"))
    _, first = await take(dying)
    assert first.events[0].first_sent_at_us is None
    clock.advance(19.9)
    assert [] == ids((await take(other))[1])
    clock.advance(0.2)
    _, second = await take(other)
    assert ["a1"] == ids(second)
    assert second.events[0].first_sent_at_us == first.now_us


async def test_a_mark_stays_while_there_is_doubt_and_goes_when_there_is_none(queue: EventQueue) -> None:
    """Settling names the lease."""
    await admit(queue, new_event("a1"), new_event("b1", "bob"))
    lease, taken = await take(queue)
    await settle(queue, lease, again(taken.events[0], first_sent_at_us=taken.now_us), again(taken.events[1]))
    _, later = await take(queue)
    assert {"a1": taken.now_us, "b1": None} == {event.event_id: event.first_sent_at_us for event in later.events}


async def test_a_lost_lease_settles_nothing(make_queue: MakeQueue, clock: ManualClock) -> None:
    """Whoever took over decides: the late word changes neither the event nor its ordering key."""
    late, other = make_queue(), make_queue()
    await admit(late, new_event("a1"), new_event("a2"))
    old_lease, old = await take(late)
    clock.advance(21.0)
    new_lease, new = await take(other)
    assert 0 == await settle(late, old_lease, dead(old.events[0]))
    assert 1 == await settle(other, new_lease, delivered(new.events[0]))
    assert ["a2"] == ids((await take(late))[1])


async def test_settling_twice_changes_nothing(queue: EventQueue) -> None:
    """As after a commit whose answer was lost."""
    await admit(queue, new_event("a1"), new_event("a2"), new_event("a3"))
    lease, taken = await take(queue)
    assert [1, 0] == [await settle(queue, lease, delivered(taken.events[0])) for _ in range(2)]
    assert (await queue.depth(soon())).events == 2
    assert ["a2"] == ids((await take(queue))[1])


async def test_a_released_lease_leaves_no_trace(queue: EventQueue, clock: ManualClock) -> None:
    """Of what it marked first; a mark from before stays."""
    await admit(queue, new_event("a1"), new_event("b1", "bob"))
    lease, taken = await take(queue)
    await settle(queue, lease, again(taken.events[0], first_sent_at_us=taken.now_us), again(taken.events[1]))
    clock.advance(5.0)
    lease, _ = await take(queue)
    assert 2 == await queue.release(Release(lease_id=lease, lease_us=LEASE_US), soon())
    _, found = await take(queue)
    assert {"a1": taken.now_us, "b1": None} == {event.event_id: event.first_sent_at_us for event in found.events}


async def test_tenants_take_their_own(queue: EventQueue) -> None:
    """And no other lease."""
    other = TenantId("tenant-two")
    await admit(queue, new_event("a1"))
    await admit(queue, new_event("z1"), tenant=other)
    assert ["z1"] == ids((await take(queue, tenant=other))[1])
    assert ["a1"] == ids((await take(queue))[1])


async def test_many_gateways_share_the_ordering_keys_and_keep_each_in_order(make_queue: MakeQueue) -> None:
    """Every event goes out exactly once, and each user's in their order."""
    gateways = [make_queue() for _ in range(3)]
    count, users = 120, 6
    for start in range(0, count, 40):
        await admit(gateways[0], *(new_event(f"{n:04}", f"user-{n % users}") for n in range(start, start + 40)))
    sent: dict[str, list[str]] = {}

    async def deliver(queue: EventQueue) -> None:
        while sum(map(len, sent.values())) < count:
            lease, taken = await take(queue, 3)
            for event in taken.events:
                sent.setdefault(event.user_id, []).append(event.event_id)
            if taken.events:
                assert await settle(queue, lease, *map(delivered, taken.events)) == len(taken.events)

    async with asyncio.timeout(30):
        await asyncio.gather(*map(deliver, gateways))
    assert users == len(sent)
    for order in sent.values():
        assert count // users == len(order)
        assert all(one < two for one, two in pairwise(order))
    assert (await gateways[0].depth(soon())).events == 0


async def test_depth_shows_waiting_events_and_their_age(queue: EventQueue, clock: ManualClock) -> None:
    """Dead letters apart; bytes as they are sent."""
    began_us = round(clock.now() * 1_000_000)
    await admit(queue, new_event("a1"), new_event("a2"), new_event("b1", "bob"))
    lease, taken = await take(queue)
    await settle(queue, lease, delivered(taken.events[0]), dead(taken.events[1]))
    clock.advance(7.0)
    await admit(queue, new_event("c1", "cid"))
    depth = await queue.depth(soon())
    sizes = len(new_event("a2").body) + len(new_event("c1", "cid").body)
    assert (2, sizes, 1, began_us) == (depth.events, depth.size_bytes, depth.dead_letters, depth.oldest_at_us)
    assert depth.now_us == began_us + 7_000_000


async def test_an_empty_queue_has_no_oldest(queue: EventQueue) -> None:
    """Zero of everything."""
    depth = await queue.depth(soon())
    assert (0, 0, 0, None) == (depth.events, depth.size_bytes, depth.dead_letters, depth.oldest_at_us)


async def test_delivered_events_are_purged_after_a_day_and_dead_letters_after_thirty(
    queue: EventQueue, clock: ManualClock
) -> None:
    """Not sooner; the id is free then."""
    await admit(queue, new_event("a1"), new_event("b1", "bob"), new_event("c1", "cid"))
    lease, taken = await take(queue)
    await settle(queue, lease, delivered(taken.events[0]), dead(taken.events[1]), again(taken.events[2], 1.0))
    clock.advance(24 * 3600 - 1)
    assert (0, 0) == await queue.purge(soon())
    clock.advance(2)
    assert (1, 0) == await queue.purge(soon())
    assert ["new"] == await admit(queue, new_event("a1"))
    clock.advance(29 * 24 * 3600)
    assert (0, 1) == await queue.purge(soon())
    assert (await queue.depth(soon())).events == 2


async def test_a_lease_holds_no_more_bytes_than_asked_and_at_least_one_event(queue: EventQueue) -> None:
    """The rest stays for the next one, unmarked."""
    await admit(queue, *(new_event(f"e-{n}", f"user-{n}") for n in range(4)))
    size = len(new_event("e-0", "user-0").body)
    for max_bytes, expected in ((2 * size + 1, ["e-0", "e-1"]), (1, ["e-2"]), (size, ["e-3"])):
        asked = Take(tenant_id=TENANT, max_keys=9, lease_id=max_bytes, lease_us=LEASE_US, max_bytes=max_bytes)
        taken = await queue.take(asked, soon())
        assert expected == ids(taken)
        assert [1] * len(expected) == [event.attempts for event in taken.events]
