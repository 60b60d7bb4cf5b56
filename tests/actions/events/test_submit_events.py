"""The whole action: batches and streams with their order, bounds, and callers who leave."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from gateway import errors
from gateway.actions.events.backlog import BacklogSettings
from gateway.actions.events.submit_events import SubmitSettings
from gateway.core.wire import BulkEnvelope, Event
from gateway.errors import InvalidField
from gateway.phoenix.gamification.pending_event import Failed
from tests.actions.events.gated_phoenix import BULK, GatedPhoenix, call, event, said, submit_to, until


def users_in_order(phoenix: GatedPhoenix) -> dict[str, list[str]]:
    """Event ids by user, in the order of their arrival."""
    seen: dict[str, list[str]] = {}
    for user, event_id in zip(phoenix.users, phoenix.ids, strict=True):
        seen.setdefault(user, []).append(event_id)
    return seen


@pytest.mark.parametrize("bulk", BULK)
async def test_a_batch_arrives_whole_and_each_users_events_in_order(bulk: BulkEnvelope | None) -> None:
    """1,000 events of 7 users, answered at random times; results in the order of the batch."""
    phoenix = GatedPhoenix()
    submit = submit_to(phoenix, bulk=bulk)
    rng = random.Random(7)
    events = [event(f"e{number}", f"u{rng.randrange(7)}") for number in range(1000)]
    results = await submit.many("", events, frozenset(), call())
    assert [one.event_id for one in results] == [one.event_id for one in events]
    assert set(said(results)) == {"accepted"}
    expected: dict[str, list[str]] = {}
    for one in events:
        expected.setdefault(one.user_id, []).append(one.event_id)
    assert users_in_order(phoenix) == expected
    assert len(phoenix.calls) == (1000 if bulk is None else 10)


@pytest.mark.parametrize(("bulk", "most"), [(None, 32), ("events", 4)])
async def test_calls_go_side_by_side_within_a_bound(bulk: BulkEnvelope | None, most: int) -> None:
    """Each event has its own user, so no event waits for another."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    submit = submit_to(phoenix, bulk=bulk)
    events = [event(f"e{number}", f"u{number}") for number in range(1000)]
    sending = asyncio.create_task(submit.many("", events, frozenset(), call()))
    await until(lambda: len(phoenix.calls) == most)
    phoenix.let_go()
    await sending
    assert phoenix.most_at_once == most


async def test_a_bulk_call_waits_for_an_earlier_one_with_the_same_user() -> None:
    """And not for one without."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    submit = submit_to(phoenix)
    events = [event(f"a{n}", "ada") for n in range(100)] + [event(f"b{n}", "bob") for n in range(100)]
    events.append(event("a-last", "ada"))
    sending = asyncio.create_task(submit.many("", events, frozenset(), call()))
    await until(lambda: len(phoenix.calls) == 2)
    phoenix.let_go(1)
    await asyncio.sleep(0.01)
    assert len(phoenix.calls) == 2
    phoenix.let_go(0)
    await until(lambda: len(phoenix.calls) == 3)
    phoenix.let_go()
    assert set(said(await sending)) == {"accepted"}


async def test_an_event_that_failed_before_costs_only_itself() -> None:
    """It keeps its place."""
    phoenix = GatedPhoenix()
    bad = Failed(event_id="bad", error=InvalidField([]))
    results = await submit_to(phoenix).many("", [event("a"), bad, event("b")], frozenset(), call())
    assert said(results) == ["accepted", "INVALID_FIELD", "accepted"]
    assert phoenix.ids == ["a", "b"]


async def test_an_event_over_a_megabyte_is_refused_by_name() -> None:
    """The rest is delivered."""
    phoenix = GatedPhoenix()
    large = event("large", metadata_json=json.dumps({"m": "x" * 1_000_000}).encode())
    results = await submit_to(phoenix).many("", [event("a"), large], frozenset(), call())
    assert said(results) == ["accepted", "INVALID_FIELD"]
    assert isinstance(results[1], Failed)
    assert "events[1]" in results[1].error.message
    assert phoenix.ids == ["a"]


async def test_events_that_fill_a_megabyte_go_in_several_calls() -> None:
    """No body is larger than Phoenix takes."""
    phoenix = GatedPhoenix()
    padding = json.dumps({"m": "x" * 60_000}).encode()
    events = [event(f"e{number}", metadata_json=padding) for number in range(40)]
    results = await submit_to(phoenix).many("", events, frozenset(), call())
    assert set(said(results)) == {"accepted"}
    assert [16, 16, 8] == [len(ids) for _, ids in phoenix.calls]


async def test_past_the_bound_calls_are_refused() -> None:
    """OVERLOADED with a time to wait; nothing of it is sent, and room comes back."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    settings = SubmitSettings(backlog=BacklogSettings(max_events=10))
    submit = submit_to(phoenix, settings=settings)
    held = asyncio.create_task(submit.many("", [event(f"e{n}") for n in range(8)], frozenset(), call()))
    await until(lambda: bool(phoenix.calls))
    with pytest.raises(errors.Overloaded) as refused:
        await submit.many("", [event("x"), event("y"), event("z")], frozenset(), call())
    assert refused.value.retry_after_s is not None
    phoenix.let_go()
    await held
    assert said(await submit.many("", [event("x")] * 10, frozenset(), call())) == ["accepted"] * 10


@pytest.mark.parametrize("bulk", BULK)
async def test_a_caller_that_leaves_sends_no_more_and_frees_its_room(bulk: BulkEnvelope | None) -> None:
    """A started event is unknown for its id. An event that was not started may be sent by the next call."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    submit = submit_to(phoenix, bulk=bulk, settings=SubmitSettings(backlog=BacklogSettings(max_events=300)))
    events = [event(f"e{number}", "ada") for number in range(300)]
    leaving = asyncio.create_task(submit.many("", events, set(range(300)), call()))
    await until(lambda: bool(phoenix.calls))
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    begun = len(phoenix.ids)
    phoenix.let_go()
    results = await submit.many("", events, set(range(300)), call())
    assert said(results) == ["OUTCOME_UNKNOWN"] * begun + ["accepted"] * (300 - begun)
    assert sorted(phoenix.ids) == sorted(one.event_id for one in events)


async def test_an_unknown_tenant_fails_the_call() -> None:
    """Before anything is done."""
    with pytest.raises(errors.TenantUnknown):
        await submit_to(GatedPhoenix()).many("nobody", [event("x")], frozenset(), call())


@pytest.mark.parametrize("bulk", BULK)
async def test_a_stream_keeps_the_order_of_each_user_across_messages(bulk: BulkEnvelope | None) -> None:
    """Messages go side by side where no user is in both."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    stream = submit_to(phoenix, bulk=bulk).stream(call())
    first = await stream.begin("", [event("a1", "ada")], frozenset())
    second = await stream.begin("", [event("a2", "ada")], frozenset())
    third = await stream.begin("", [event("b1", "bob")], frozenset())
    await until(lambda: len(phoenix.calls) == 2)
    assert phoenix.ids == ["a1", "b1"]
    phoenix.let_go(1)
    assert said(await third) == ["accepted"]
    assert not second.done()
    phoenix.let_go()
    assert [said(await first), said(await second)] == [["accepted"]] * 2
    assert phoenix.ids == ["a1", "b1", "a2"]


async def test_a_message_for_an_unknown_tenant_fails_event_by_event() -> None:
    """The stream goes on."""
    phoenix = GatedPhoenix()
    stream = submit_to(phoenix).stream(call())
    refused = await (await stream.begin("nobody", [event("a"), event("b")], frozenset()))
    taken = await (await stream.begin("t", [event("c")], frozenset()))
    assert (said(refused), said(taken)) == (["TENANT_UNKNOWN"] * 2, ["accepted"])


async def test_a_stream_waits_where_a_call_would_be_refused() -> None:
    """It continues when there is room."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    stream = submit_to(phoenix, settings=SubmitSettings(backlog=BacklogSettings(max_events=10))).stream(call())
    first = await stream.begin("", [event(f"a{n}", "ada") for n in range(8)], frozenset())
    second = asyncio.create_task(stream.begin("", [event(f"b{n}", "bob") for n in range(8)], frozenset()))
    await asyncio.sleep(0.01)
    assert not second.done()
    phoenix.let_go()
    await first
    assert said(await (await second)) == ["accepted"] * 8


async def test_a_message_that_is_cancelled_at_once_leaves_nothing_behind() -> None:
    """Its room and its ids are free again, and the events after it continue."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    submit = submit_to(phoenix, settings=SubmitSettings(backlog=BacklogSettings(max_events=3)))
    stream = submit.stream(call())
    events: list[Event] = [event("x"), event("y")]
    begun = await stream.begin("", events, {0, 1})
    behind = await stream.begin("", [event("z")], frozenset())
    begun.cancel()
    phoenix.let_go()
    with pytest.raises(asyncio.CancelledError):
        await begun
    assert said(await behind) == ["accepted"]
    results = await submit.many("", [*events, event("n")], {0, 1}, call())
    assert set(said(results)) <= {"accepted", "OUTCOME_UNKNOWN"}
