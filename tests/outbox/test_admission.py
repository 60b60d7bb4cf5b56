"""Taking events in: each id once, on whichever gateway."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.types import TenantId
from gateway.outbox.record import AdmissionState
from gateway.outbox.store import EventQueue
from gateway.store.group_commit import CommitSettings
from tests.evidence.wallet_factory import soon
from tests.outbox.conftest import MakeQueue
from tests.outbox.event_factory import admit, admitted, dead, delivered, ids, new_event, settle, take


async def test_an_event_that_is_admitted_can_be_taken_as_it_was(queue: EventQueue) -> None:
    """Every part of it, whatever characters it holds."""
    event = new_event("e-1", "Zoë 'x' \" \\ 😀")
    assert await admit(queue, event) == ["new"]
    _, taken = await take(queue)
    (found,) = taken.events
    assert (event.event_id, event.user_id, event.leaderboard_id, event.body) == (
        found.event_id,
        found.user_id,
        found.leaderboard_id,
        found.body,
    )
    assert (1, None, True) == (found.attempts, found.first_sent_at_us, found.is_id_given)


async def test_the_same_event_is_taken_in_once(queue: EventQueue) -> None:
    """In one call and across calls. A repeat gets the time of the first acceptance."""
    assert await admit(queue, new_event("e-1"), new_event("e-1"), new_event("e-2")) == ["new", "queued", "new"]
    assert await admit(queue, new_event("e-2"), new_event("e-3")) == ["queued", "new"]
    assert (await queue.depth(soon())).events == 3


async def test_an_id_with_other_content_is_refused(queue: EventQueue) -> None:
    """In one call and across calls. The first one does not change."""
    assert await admit(queue, new_event("e-1"), new_event("e-1", content="6")) == ["new", "reused"]
    assert await admit(queue, new_event("e-1", "bob")) == ["reused"]
    assert (await queue.depth(soon())).events == 1


async def test_tenants_have_ids_of_their_own(queue: EventQueue) -> None:
    """The same id and content for two tenants are two events."""
    assert await admit(queue, new_event("e-1")) == ["new"]
    assert await admit(queue, new_event("e-1"), tenant=TenantId("tenant-two")) == ["new"]


async def test_a_delivered_and_a_dead_event_are_remembered(queue: EventQueue) -> None:
    """With their results."""
    await admit(queue, new_event("e-1", "ada"), new_event("e-2", "bob"))
    lease, taken = await take(queue)
    one, two = taken.events
    await settle(queue, lease, delivered(one), dead(two, "BOARD_NOT_ACTIVE"))
    answers = await admitted(queue, new_event("e-1", "ada"), new_event("e-2", "bob"), new_event("e-1", "eve"))
    assert [AdmissionState.DELIVERED, AdmissionState.DEAD, AdmissionState.REUSED] == [one.state for one in answers]
    assert ["", "BOARD_NOT_ACTIVE", ""] == [one.reason for one in answers]


async def test_an_id_that_the_gateway_made_is_forgotten_once_delivered(queue: EventQueue) -> None:
    """No caller repeats an event without an id of its own. While it waits, its row keeps it unique."""
    await admit(queue, new_event("made", is_id_given=False))
    assert await admit(queue, new_event("made")) == ["queued"]
    lease, taken = await take(queue)
    await settle(queue, lease, delivered(taken.events[0]))
    assert await admit(queue, new_event("made")) == ["new"]


@pytest.mark.parametrize("is_id_given", [True, False])
async def test_two_gateways_that_get_the_same_events_at_once_keep_each_once(
    make_queue: MakeQueue, *, is_id_given: bool
) -> None:
    """Also where the second one does not look at the ids beforehand, since a gateway made them."""
    gateways = [make_queue(CommitSettings(max_batch=1, linger_s=0.0)) for _ in range(2)]
    events = [new_event(f"e-{n}", f"user-{n % 5}", is_id_given=is_id_given) for n in range(60)]
    calls = [events[start : start + 20] for start in (0, 10, 20, 30, 40)]
    answers = await asyncio.gather(*(admit(queue, *call) for call in calls for queue in gateways))
    new = [
        event.event_id
        for call, reported in zip([c for c in calls for _ in gateways], answers, strict=True)
        for event, state in zip(call, reported, strict=True)
        if state == "new"
    ]
    assert sorted(new) == sorted(event.event_id for event in events)
    assert (await gateways[0].depth(soon())).events == len(events)


async def test_a_call_of_a_thousand_keeps_the_order_of_each_user(queue: EventQueue) -> None:
    """The order in the call."""
    events = [new_event(f"e-{n:04}", f"user-{n % 3}") for n in range(1000)]
    await admit(queue, *events)
    seen: dict[str, list[str]] = {}
    while True:
        lease, taken = await take(queue)
        if not taken.events:
            break
        for event in taken.events:
            seen.setdefault(event.user_id, []).append(event.event_id)
        await settle(queue, lease, *(delivered(event) for event in taken.events))
        if sum(map(len, seen.values())) >= 60:
            break
    for number, user in enumerate(sorted(seen)):
        assert seen[user] == [f"e-{n:04}" for n in range(number, 1000, 3)][: len(seen[user])]


async def test_events_outlive_the_gateway(make_queue: MakeQueue) -> None:
    """What was admitted by one that is gone is delivered by the next."""
    first = make_queue()
    await admit(first, new_event("e-1"))
    await first.stop()
    _, taken = await take(make_queue())
    assert ["e-1"] == ids(taken)
