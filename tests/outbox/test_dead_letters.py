"""Dead letters: listed in pages, and requeued on request."""

from __future__ import annotations

import dataclasses

from gateway.outbox.record import DeadLetterQuery, Release
from gateway.outbox.store import EventQueue
from tests.evidence.wallet_factory import soon
from tests.outbox.event_factory import LEASE_US, TENANT, admit, dead, delivered, ids, new_event, settle, take


async def bury(queue: EventQueue, *users: str, reason: str = "PHOENIX_REFUSED_INPUT", board: str = "weekly") -> None:
    """Create a dead letter `dead-USER` for each user."""
    await admit(queue, *(new_event(f"dead-{user}", user, board=board) for user in users))
    lease, taken = await take(queue)
    marked = taken.now_us if reason == "OUTCOME_UNKNOWN" else None
    await settle(queue, lease, *(dead(event, reason, first_sent_at_us=marked) for event in taken.events))


def query(*event_ids: str, board: str = "", reason: str = "", after: int = 0, limit: int = 100) -> DeadLetterQuery:
    return DeadLetterQuery(
        tenant_id=TENANT, leaderboard_id=board, reason=reason, event_ids=event_ids, after=after, limit=limit
    )


async def test_a_dead_letter_shows_what_was_refused_and_why(queue: EventQueue) -> None:
    """Its body as sent, the reason and the times."""
    await bury(queue, "ada")
    (letter,), has_more = await queue.dead_letters(query(), soon())
    assert not has_more
    assert ("dead-ada", "weekly", "ada", "PHOENIX_REFUSED_INPUT", "phoenix_status=400", 1) == (
        letter.event_id,
        letter.leaderboard_id,
        letter.user_id,
        letter.reason,
        letter.detail,
        letter.attempts,
    )
    assert new_event("dead-ada", "ada").body == letter.body
    assert letter.first_sent_at_us is None
    assert letter.accepted_at_us <= letter.died_at_us


async def test_a_redriven_event_that_phoenix_may_have_goes_out_as_one_with_a_known_id(queue: EventQueue) -> None:
    """A 409 shows that the first attempt arrived, also if the gateway made the id."""
    made = [dataclasses.replace(new_event(f"made-{user}", user), is_id_given=False) for user in ("ada", "bob")]
    await admit(queue, *made)
    lease, taken = await take(queue)
    ada, bob = taken.events
    await settle(queue, lease, dead(ada, "OUTCOME_UNKNOWN", first_sent_at_us=taken.now_us), dead(bob))
    await queue.redrive(query(), soon(), may_count_twice=True)
    _, again = await take(queue)
    assert {ada.event_id: True, bob.event_id: False} == {one.event_id: one.is_id_given for one in again.events}


async def test_pages_continue_where_the_one_before_ended(queue: EventQueue) -> None:
    """By sequence, each letter once."""
    await bury(queue, *(f"u{n}" for n in range(7)))
    seen: list[str] = []
    after, has_more = 0, True
    while has_more:
        page, has_more = await queue.dead_letters(query(after=after, limit=3), soon())
        seen += [letter.event_id for letter in page]
        after = page[-1].sequence
    assert [f"dead-u{n}" for n in range(7)] == seen


async def test_a_page_of_large_events_is_shorter(queue: EventQueue) -> None:
    """So that it fits into a message; nothing is left out."""
    large = [dataclasses.replace(new_event(f"e-{n}", f"u{n}"), body=b"x" * 900_000) for n in range(5)]
    await admit(queue, *large)
    lease, taken = await take(queue)
    while taken.events:
        await settle(queue, lease, *map(dead, taken.events))
        lease, taken = await take(queue)
    first, has_more = await queue.dead_letters(query(), soon())
    rest, _ = await queue.dead_letters(query(after=first[-1].sequence), soon())
    assert (["e-0", "e-1"], True, ["e-2", "e-3"]) == (
        [one.event_id for one in first],
        has_more,
        [one.event_id for one in rest],
    )


async def test_filters_leave_out_the_rest(queue: EventQueue) -> None:
    """By board and by reason."""
    await bury(queue, "ada", board="daily")
    await bury(queue, "bob", reason="BOARD_NOT_ACTIVE")
    assert ["dead-ada"] == [one.event_id for one in (await queue.dead_letters(query(board="daily"), soon()))[0]]
    assert ["dead-bob"] == [
        one.event_id for one in (await queue.dead_letters(query(reason="BOARD_NOT_ACTIVE"), soon()))[0]
    ]


async def test_a_redriven_event_goes_before_the_later_ones_of_its_ordering_key(queue: EventQueue) -> None:
    """As if it had never been refused: no attempts, no mark."""
    await admit(queue, new_event("a1"), new_event("a2"), new_event("a3"))
    lease, taken = await take(queue)
    await settle(queue, lease, dead(taken.events[0]))
    assert (["a1"], []) == await queue.redrive(query("a1", "no-such"), soon(), may_count_twice=False)
    order = []
    for _ in range(3):
        lease, taken = await take(queue)
        assert (1, None) == (taken.events[0].attempts, taken.events[0].first_sent_at_us)
        order += ids(taken)
        await settle(queue, lease, delivered(taken.events[0]))
    assert ["a1", "a2", "a3"] == order
    assert (0, 0) == ((await queue.depth(soon())).events, (await queue.depth(soon())).dead_letters)


async def test_an_event_that_may_be_there_is_redriven_only_on_demand(queue: EventQueue) -> None:
    """Named or found by a filter."""
    await bury(queue, "ada", reason="OUTCOME_UNKNOWN")
    await bury(queue, "bob")
    assert ([], ["dead-ada"]) == await queue.redrive(query("dead-ada"), soon(), may_count_twice=False)
    assert (["dead-bob"], []) == await queue.redrive(query(), soon(), may_count_twice=False)
    assert (["dead-ada"], []) == await queue.redrive(query(), soon(), may_count_twice=True)


async def test_redriving_by_filter_takes_so_many_at_a_time(queue: EventQueue) -> None:
    """The oldest first; the rest the next time."""
    await bury(queue, *(f"u{n}" for n in range(5)))
    assert ["dead-u0", "dead-u1", "dead-u2"] == (await queue.redrive(query(limit=3), soon(), may_count_twice=False))[0]
    assert ["dead-u3", "dead-u4"] == (await queue.redrive(query(limit=3), soon(), may_count_twice=False))[0]
    assert 5 == (await queue.depth(soon())).events


async def test_a_redriven_event_does_not_hide_the_mark_of_the_one_that_is_out(queue: EventQueue) -> None:
    """The mark is set first. A released lease still removes its own mark."""
    await admit(queue, new_event("a1"), new_event("a2"))
    lease, taken = await take(queue)
    await settle(queue, lease, dead(taken.events[0]))
    lease, _ = await take(queue)
    await queue.redrive(query(), soon(), may_count_twice=False)
    assert 1 == await queue.release(Release(lease_id=lease, lease_us=LEASE_US), soon())
    lease, taken = await take(queue)
    assert ["a1"] == ids(taken)
    await settle(queue, lease, delivered(taken.events[0]))
    _, taken = await take(queue)
    assert [("a2", None)] == [(event.event_id, event.first_sent_at_us) for event in taken.events]
