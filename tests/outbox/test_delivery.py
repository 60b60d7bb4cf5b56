"""Background delivery with a real store: order, batches, failures, unknown outcomes and crashed gateways."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.core.wire import BulkEnvelope
from gateway.errors import Overloaded, StoreUnavailable
from gateway.outbox.queue_level import QueueBound
from gateway.phoenix.gamification.pending_event import Failed, Submitted
from gateway.phoenix.http_types import Answer, AnswerLost, NotSent, Request
from gateway.resilience.breaker import Breaker, BreakerSettings
from tests.actions.events.gated_phoenix import CLOCK, GatedPhoenix, call, event, until
from tests.outbox.durable_gateway import DYING, QUICK, DurableGateway, gateway_at

BULK: list[BulkEnvelope | None] = [None, "events"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "data" / "evidence.sqlite3"


eventually = functools.partial(until, within_s=30.0)


async def put(gateway: DurableGateway, *pairs: tuple[str, str]) -> list[str]:
    """Take in events of (id, user); return what each came to."""
    events = [event(event_id, user) for event_id, user in pairs]
    results = await gateway.submit.many("", events, set(range(len(events))), call(30.0), durable=True)
    return [said(one) for one in results]


def said(result: Submitted | Failed) -> str:
    if isinstance(result, Failed):
        return result.error.reason
    return "queued" if result.queued else "duplicate" if result.duplicate else "accepted"


def orders(phoenix: GatedPhoenix) -> dict[str, list[str]]:
    seen: dict[str, list[str]] = {}
    for user, event_id in zip(phoenix.users, phoenix.ids, strict=True):
        seen.setdefault(user, []).append(event_id)
    return seen


async def drained(gateway: DurableGateway, within_s: float = 40.0) -> None:
    async with asyncio.timeout(within_s):
        while await gateway.waiting():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


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


async def test_a_refused_event_becomes_a_dead_letter_and_does_not_block_its_user(path: Path) -> None:
    """The reason is stored, and a repeat of the event gets it."""
    phoenix = GatedPhoenix(lambda request, ids: 422 if "a1" in ids else 202)
    async with gateway_at(path, phoenix, bulk=None) as gateway:
        await put(gateway, ("a1", "ada"), ("a2", "ada"), ("b1", "bob"))
        await drained(gateway)
        (letter,) = await gateway.dead_letters()
        assert ("a1", "PHOENIX_REFUSED_STATE", None) == (letter.event_id, letter.reason, letter.first_sent_at_us)
        assert ["PHOENIX_REFUSED_STATE"] == await put(gateway, ("a1", "ada"))
    assert {"ada": ["a1", "a2"], "bob": ["b1"]} == orders(phoenix)
    assert 1 == gateway.counts["PHOENIX_REFUSED_STATE"]


async def test_a_bulk_call_that_is_refused_is_divided_where_that_is_harmless(path: Path) -> None:
    """Only the invalid event becomes a dead letter."""
    phoenix = GatedPhoenix(lambda request, ids: 400 if "e3" in ids else 202)
    async with gateway_at(path, phoenix, deduplicates=True) as gateway:
        await put(gateway, *((f"e{n}", f"u{n}") for n in range(8)))
        await drained(gateway)
        assert ["e3"] == [letter.event_id for letter in await gateway.dead_letters()]
    assert 7 == gateway.counts["delivered"]


async def test_without_bulk_calls_at_phoenix_events_go_singly(path: Path) -> None:
    """After the first 404."""
    phoenix = GatedPhoenix(lambda request, ids: 404 if request.raw_path.endswith("bulk") else 202)
    async with gateway_at(path, phoenix) as gateway:
        await put(gateway, *((f"e{n}", f"u{n}") for n in range(5)))
        await drained(gateway)
    assert 5 == gateway.counts["delivered"]


@pytest.mark.parametrize("bulk", BULK)
async def test_a_phoenix_in_trouble_is_asked_with_one_event_until_it_is_back(
    path: Path, bulk: BulkEnvelope | None
) -> None:
    """Nothing is lost or doubled however long it takes, and the order stays."""
    is_down = True
    taken: list[str] = []

    def says(request: Request, ids: list[str]) -> int:
        if is_down:
            return 503
        taken.extend(ids)
        return 202

    phoenix = GatedPhoenix(says)
    async with gateway_at(path, phoenix, bulk=bulk) as gateway:
        await put(gateway, *((f"{n:02}", f"u{n % 5}") for n in range(50)))
        await eventually(lambda: len(phoenix.calls) >= 12)
        assert all(len(ids) == 1 for _, ids in phoenix.calls[8:])
        is_down = False
        await drained(gateway)
    assert sorted(taken) == [f"{n:02}" for n in range(50)]
    by_user = [[event_id for event_id in taken if int(event_id) % 5 == user] for user in range(5)]
    assert all(order == sorted(order) for order in by_user)
    assert 50 == gateway.counts["delivered"]
    assert not await_dead(gateway)


def await_dead(gateway: DurableGateway) -> list[str]:
    """Reasons of dead letters."""
    return [name for name in gateway.counts if name.isupper()]


async def test_while_the_circuit_is_open_nothing_is_sent_and_nothing_lost(path: Path) -> None:
    """The breaker's pauses are kept; a probe finds out."""
    is_down = True

    def says(request: Request, ids: list[str]) -> int | NotSent:
        return NotSent("refused") if is_down else 202

    phoenix = GatedPhoenix(says)
    breaker = Breaker(CLOCK, BreakerSettings(failures_to_open=2, first_open_s=0.1, longest_open_s=0.2))
    async with gateway_at(path, phoenix, breaker=breaker) as gateway:
        await put(gateway, *((f"e{n}", f"u{n}") for n in range(20)))
        await eventually(lambda: gateway.counts["retried"] >= 25)
        is_down = False
        await drained(gateway)
    assert 20 == gateway.counts["delivered"]
    assert sorted(set(phoenix.ids)) == sorted(f"e{n}" for n in range(20))


async def test_retry_after_is_respected(path: Path) -> None:
    """By all events of the tenant."""
    limited = Answer(status=429, headers={"retry-after": "1"})
    phoenix = GatedPhoenix(lambda request, ids: limited if len(phoenix.calls) == 1 else 202)
    async with gateway_at(path, phoenix, bulk=None) as gateway:
        began_at = CLOCK.monotonic()
        await put(gateway, ("a1", "ada"))
        await eventually(lambda: len(phoenix.calls) == 1)
        await put(gateway, ("b1", "bob"))
        await drained(gateway)
        assert CLOCK.monotonic() - began_at >= 1.0
    assert ["a1", "a1", "b1"] == sorted(phoenix.ids)


async def test_rejected_credentials_are_no_ones_dead_letter(path: Path) -> None:
    """They are faults of the gateway's configuration: the event is delivered when they are corrected."""
    is_wrong = True
    phoenix = GatedPhoenix(lambda request, ids: 401 if is_wrong else 202)
    async with gateway_at(path, phoenix) as gateway:
        await put(gateway, ("a1", "ada"))
        await eventually(lambda: gateway.counts["retried"] >= 2)
        is_wrong = False
        await drained(gateway)
    assert {"queued": 1, "delivered": 1} == {name: gateway.counts[name] for name in ("queued", "delivered")}


async def test_a_lost_answer_is_sent_again_where_phoenix_deduplicates(path: Path) -> None:
    """Under the same id, until it is known."""
    phoenix = GatedPhoenix(lambda request, ids: AnswerLost("cut") if len(phoenix.calls) < 3 else 409)
    async with gateway_at(path, phoenix, bulk=None, deduplicates=True) as gateway:
        await put(gateway, ("a1", "ada"))
        await drained(gateway)
    assert ["a1", "a1", "a1"] == phoenix.ids
    assert 1 == gateway.counts["delivered"]


@pytest.mark.parametrize("bulk", BULK)
async def test_a_lost_answer_is_never_sent_again_where_it_may_count_twice(
    path: Path, bulk: BulkEnvelope | None
) -> None:
    """It is a dead letter of unknown outcome. The user's next event is delivered."""
    phoenix = GatedPhoenix(lambda request, ids: AnswerLost("cut") if "a1" in ids else 202)
    async with gateway_at(path, phoenix, bulk=bulk) as gateway:
        await put(gateway, ("a1", "ada"), ("a2", "ada"))
        await drained(gateway)
        (letter,) = await gateway.dead_letters()
        assert ("a1", "OUTCOME_UNKNOWN") == (letter.event_id, letter.reason)
        assert letter.first_sent_at_us is not None
    assert ["a1", "a2"] == phoenix.ids


@pytest.mark.parametrize("deduplicates", [True, False])
async def test_a_gateway_that_dies_while_it_sends_leaves_a_doubt(path: Path, *, deduplicates: bool) -> None:
    """The next gateway sends the event again if a repeat is safe. Otherwise it becomes a dead letter."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    dying = DurableGateway(path, phoenix, bulk=None, deduplicates=deduplicates, settings=DYING)
    dying.start()
    await put(dying, ("a1", "ada"), ("a2", "ada"))
    await eventually(lambda: phoenix.ids == ["a1"])
    await dying.die()
    phoenix.let_go()
    async with gateway_at(path, phoenix, bulk=None, deduplicates=deduplicates) as gateway:
        await drained(gateway)
        letters = [(letter.event_id, letter.reason) for letter in await gateway.dead_letters()]
    assert (["a1", "a1", "a2"] if deduplicates else ["a1", "a2"]) == phoenix.ids
    assert ([] if deduplicates else [("a1", "OUTCOME_UNKNOWN")]) == letters


async def test_past_the_window_a_doubt_is_not_sent_again(path: Path) -> None:
    """Even where Phoenix deduplicates: it has forgotten the id."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    dying = DurableGateway(path, phoenix, bulk=None, deduplicates=True, settings=DYING)
    dying.start()
    await put(dying, ("a1", "ada"))
    await eventually(lambda: phoenix.ids == ["a1"])
    await dying.die()
    gateway = DurableGateway(path, phoenix, bulk=None, deduplicates=True)
    early = "UPDATE durable_events SET first_sent_at_us = first_sent_at_us - 290000000"
    await gateway.database.write(lambda connection, _now_us: connection.exec_driver_sql(early), 5.0)
    gateway.start()
    await drained(gateway)
    assert ["OUTCOME_UNKNOWN"] == [letter.reason for letter in await gateway.dead_letters()]
    assert ["a1"] == phoenix.ids
    await gateway.stop()


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
