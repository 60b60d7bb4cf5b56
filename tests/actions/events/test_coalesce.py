"""Single events of many callers: sent alone by an idle gateway, together during a call."""

from __future__ import annotations

import asyncio

import pytest

from gateway import errors
from gateway.actions.events.coalesce import Coalescer, CoalesceSettings
from gateway.phoenix.gamification.event_sender import EventSender, Sending
from gateway.phoenix.gamification.pending_event import Failed, PendingEvent, Result, Submitted
from gateway.phoenix.http_types import Answer, ExchangeFailed, NotSent, Request, TimedOut
from gateway.resilience.deadline import Deadline
from tests.actions.events.gated_phoenix import CLOCK, GatedPhoenix, client_of, soon, until

PATIENT = CoalesceSettings(patience_s=60.0)


def item(event_id: str, size_bytes: int = 0) -> Sending:
    padding = b" " * size_bytes
    body = b'{"event_id":"%s","user_id":"u"%s}' % (event_id.encode(), padding)
    return Sending([PendingEvent(event_id, body, ("xp", "u"))])


def name(each: Sending) -> str:
    return each.events[0].event_id


def result_of(each: Sending) -> Result:
    (result,) = each.results()
    return result


def failure(each: Sending) -> errors.GatewayError | None:
    result = result_of(each)
    return result.error if isinstance(result, Failed) else None


def coalescer(phoenix: GatedPhoenix, settings: CoalesceSettings = PATIENT, **client: bool) -> Coalescer:
    return Coalescer(EventSender(client_of(phoenix, **client), CLOCK), settings)  # type: ignore[arg-type]


async def gather(one: Coalescer, phoenix: GatedPhoenix, items: list[Sending]) -> list[asyncio.Task[None]]:
    """Send them all while the first is kept waiting."""
    phoenix.is_open = False
    tasks = []
    for each in items:
        tasks.append(asyncio.create_task(one.send(each, soon())))
        await asyncio.sleep(0)
    await until(lambda: bool(phoenix.calls))
    return tasks


async def test_at_an_idle_gateway_an_event_leaves_alone_and_at_once() -> None:
    """By the single route, with no timer."""
    phoenix = GatedPhoenix()
    one = coalescer(phoenix)
    for number in range(3):
        await one.send(item(f"e{number}"), soon())
    assert [("/v1/events", [f"e{number}"]) for number in range(3)] == phoenix.calls


async def test_what_arrives_meanwhile_leaves_together() -> None:
    """One bulk call when the first returns, in the order of arrival."""
    phoenix = GatedPhoenix()
    items = [item(f"e{number}") for number in range(50)]
    tasks = await gather(coalescer(phoenix), phoenix, items)
    assert phoenix.calls == [("/v1/events", ["e0"])]
    phoenix.let_go()
    await asyncio.gather(*tasks)
    assert phoenix.calls[1:] == [("/v1/events/bulk", [f"e{number}" for number in range(1, 50)])]
    assert all(isinstance(result_of(each), Submitted) for each in items)


async def test_a_full_bulk_call_does_not_wait() -> None:
    """100 gathered events leave while the first is still out; few calls are out at once."""
    phoenix = GatedPhoenix()
    items = [item(f"e{number}") for number in range(1 + 100 * 5)]
    tasks = await gather(coalescer(phoenix, CoalesceSettings(max_calls=3, patience_s=60)), phoenix, items)
    await until(lambda: len(phoenix.calls) == 3)
    phoenix.let_go()
    await asyncio.gather(*tasks)
    assert [1, 100, 100, 100, 100, 100] == [len(ids) for _, ids in phoenix.calls]
    assert phoenix.most_at_once == 3
    assert [name(each) for each in items] == phoenix.ids


async def test_callers_stand_alone_after_one_has_cost_others_their_answer() -> None:
    """Without deduplication, a refusal of the whole call leaves each event undecided. No event is sent again."""

    def refuses_bad(request: object, ids: list[str]) -> int:
        return 400 if "bad" in ids else 202

    phoenix = GatedPhoenix(refuses_bad)
    one = coalescer(phoenix)
    items = [item("first"), item("bad"), item("good")]
    tasks = await gather(one, phoenix, items)
    phoenix.let_go()
    await asyncio.gather(*tasks)
    assert phoenix.calls[1:] == [("/v1/events/bulk", ["bad", "good"])]
    unknown = [failure(each) for each in items[1:]]
    assert [errors.OutcomeUnknown] * 2 == [type(error) for error in unknown]
    phoenix.calls.clear()
    items = [item("fine"), item("bad"), item("well")]
    tasks = await gather(one, phoenix, items)
    phoenix.let_go()
    await asyncio.gather(*tasks)
    assert {("/v1/events", name(each)) for each in items} == {(path, ids[0]) for path, ids in phoenix.calls}
    assert [False, True, False] == [isinstance(result_of(each), Failed) for each in items]
    assert isinstance(failure(items[1]), errors.PhoenixRefusedInput)


async def test_a_megabyte_is_as_full_as_a_hundred_events() -> None:
    """No body is larger than Phoenix takes."""
    phoenix = GatedPhoenix()
    items = [item(f"e{number}", 300_000) for number in range(8)]
    tasks = await gather(coalescer(phoenix), phoenix, items)
    phoenix.let_go()
    await asyncio.gather(*tasks)
    assert [1, 3, 3, 1] == [len(ids) for _, ids in phoenix.calls]


async def test_a_hanging_call_delays_no_other_for_long() -> None:
    """Another call is begun for those who wait."""
    phoenix = GatedPhoenix()
    one = coalescer(phoenix, CoalesceSettings(patience_s=0.01))
    first = (await gather(one, phoenix, [item("hangs")]))[0]
    phoenix.is_open = True
    waiting = item("waits")
    await one.send(waiting, soon())
    assert isinstance(result_of(waiting), Submitted)
    assert not first.done()
    phoenix.let_go()
    await first


async def test_each_caller_has_its_own_result() -> None:
    """One event that Phoenix refuses is one caller's error."""

    def says(request: object, ids: list[str]) -> Answer:
        words = ",".join('{"status":422}' if each == "e2" else '{"status":202}' for each in ids)
        return Answer(status=202, body=f"[{words}]".encode() if len(ids) > 1 else b"")

    phoenix = GatedPhoenix(says)
    items = [item(f"e{number}") for number in range(4)]
    tasks = await gather(coalescer(phoenix), phoenix, items)
    phoenix.let_go()
    await asyncio.gather(*tasks)
    failed = [error.reason if (error := failure(each)) else "" for each in items]
    assert failed == ["", "", "PHOENIX_REFUSED_STATE", ""]


async def test_a_caller_that_leaves_early_cancels_its_event() -> None:
    """The others' events leave."""
    phoenix = GatedPhoenix()
    items = [item(f"e{number}") for number in range(4)]
    tasks = await gather(coalescer(phoenix), phoenix, items)
    tasks[2].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[2]
    phoenix.let_go()
    await asyncio.gather(tasks[0], tasks[1], tasks[3])
    assert phoenix.ids == ["e0", "e1", "e3"]


async def test_a_caller_who_leaves_afterwards_costs_the_others_nothing() -> None:
    """The call continues."""
    phoenix = GatedPhoenix()
    items = [item(f"e{number}") for number in range(4)]
    tasks = await gather(coalescer(phoenix), phoenix, items)
    phoenix.let_go(0)
    await until(lambda: len(phoenix.calls) == 2)
    tasks[2].cancel()
    phoenix.let_go()
    await asyncio.gather(tasks[0], tasks[1], tasks[3])
    assert phoenix.ids == ["e0", "e1", "e2", "e3"]
    assert isinstance(result_of(items[3]), Submitted)


@pytest.mark.parametrize("stay", [0, 1])
async def test_a_call_that_all_its_callers_leave_while_it_connects_does_not_leave(stay: int) -> None:
    """The event of a caller who left has had no effect then. One caller who stays is enough for all to leave."""
    is_connecting, is_connected = asyncio.Event(), asyncio.Event()

    class Connecting(GatedPhoenix):
        async def send(self, request: Request, deadline: Deadline, max_answer_bytes: int = 0) -> Answer:
            if self.calls:
                is_connecting.set()
                await is_connected.wait()
                if deadline.expired:
                    raise TimedOut("nothing was sent", sent=False)
            return await super().send(request, deadline, max_answer_bytes)

    phoenix = Connecting()
    items = [item(f"e{number}") for number in range(4)]
    tasks = await gather(coalescer(phoenix), phoenix, items)
    phoenix.let_go()
    await is_connecting.wait()
    leaving = tasks[1 : 4 - stay]
    for task in leaving:
        task.cancel()
    await asyncio.wait(leaving)
    is_connected.set()
    await until(lambda: not isinstance(failure(items[1]), errors.OutcomeUnknown))
    assert phoenix.ids == ["e0", *(["e1", "e2", "e3"] if stay else [])]
    assert (failure(items[1]) is None) == bool(stay)


async def test_an_event_without_a_waiting_caller_is_not_sent_again() -> None:
    """The first try got no connection; the next one carries those whose callers are still there."""
    tries: list[list[str]] = []

    def says(request: object, ids: list[str]) -> int | ExchangeFailed:
        tries.append(ids)
        return NotSent("refused") if len(tries) == 2 else 202

    phoenix = GatedPhoenix(says)
    items = [item(f"e{number}") for number in range(4)]
    tasks = await gather(coalescer(phoenix), phoenix, items)
    phoenix.let_go(0)
    await until(lambda: len(phoenix.calls) == 2)
    tasks[2].cancel()
    await asyncio.sleep(0)
    phoenix.let_go()
    await asyncio.gather(tasks[0], tasks[1], tasks[3])
    assert [["e0"], ["e1", "e2", "e3"], ["e1", "e3"]] == tries
    assert [True, True, False, True] == [isinstance(result_of(each), Submitted) for each in items]


async def test_a_first_caller_who_leaves_lets_the_gathered_go() -> None:
    """They do not wait forever for a cancelled call."""
    phoenix = GatedPhoenix()
    items = [item(f"e{number}") for number in range(3)]
    tasks = await gather(coalescer(phoenix), phoenix, items)
    phoenix.is_open = True
    tasks[0].cancel()
    await asyncio.gather(*tasks[1:])
    assert phoenix.calls[1] == ("/v1/events/bulk", ["e1", "e2"])
    assert isinstance(failure(items[0]), errors.OutcomeUnknown)


async def test_each_deadline_is_its_own() -> None:
    """Not sent in time: no effect. Not answered in time: unknown. A caller with a longer deadline gets its answer."""
    phoenix = GatedPhoenix()
    one = coalescer(phoenix)
    tasks = await gather(one, phoenix, [item("e0")])
    unsent = item("unsent")
    await one.send(unsent, soon(0.01))
    assert isinstance(failure(unsent), errors.DeadlineTooShort)
    hasty, patient = item("hasty"), item("patient")
    both = [asyncio.create_task(one.send(hasty, soon(0.2))), asyncio.create_task(one.send(patient, soon()))]
    await asyncio.sleep(0)
    phoenix.let_go(0)
    await until(lambda: len(phoenix.calls) == 2)
    await both[0]
    assert isinstance(failure(hasty), errors.OutcomeUnknown)
    phoenix.let_go()
    await asyncio.gather(*tasks, *both)
    assert isinstance(result_of(patient), Submitted)
    assert phoenix.ids == ["e0", "hasty", "patient"]


async def test_without_bulk_calls_nothing_gathers() -> None:
    """Every event is sent alone and at once."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    one = Coalescer(EventSender(client_of(phoenix, bulk=None), CLOCK), PATIENT)
    tasks = [asyncio.create_task(one.send(item(f"e{number}"), soon())) for number in range(5)]
    await until(lambda: len(phoenix.calls) == 5)
    phoenix.let_go()
    await asyncio.gather(*tasks)
    assert {path for path, _ in phoenix.calls} == {"/v1/events"}


async def test_a_phoenix_without_bulk_calls_gets_single_ones() -> None:
    """A 404 turns the gathered ones, and all after them, into single calls."""
    phoenix = GatedPhoenix(lambda request, ids: 404 if request.raw_path.endswith("bulk") else 202)
    one = coalescer(phoenix)
    items = [item(f"e{number}") for number in range(4)]
    tasks = await gather(one, phoenix, items)
    phoenix.let_go()
    await asyncio.gather(*tasks)
    assert all(isinstance(result_of(each), Submitted) for each in items)
    await asyncio.gather(*(one.send(item(f"f{number}"), soon()) for number in range(3)))
    assert [path for path, _ in phoenix.calls].count("/v1/events/bulk") == 1


async def test_a_steady_stream_of_callers_keeps_few_calls_full() -> None:
    """50 callers in a loop: far fewer calls than events, all delivered once."""
    phoenix = GatedPhoenix()
    one = coalescer(phoenix)

    async def caller(number: int) -> None:
        for turn in range(20):
            await one.send(item(f"{number}-{turn}"), soon())

    await asyncio.gather(*(caller(number) for number in range(50)))
    assert (len(phoenix.ids), len(set(phoenix.ids))) == (1000, 1000)
    assert len(phoenix.calls) < 100
