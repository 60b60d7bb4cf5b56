"""Events that come again: sent once, refused with other content, and in doubt after a lost answer."""

from __future__ import annotations

import asyncio

import pytest

from gateway import errors
from gateway.core.wire import BulkEnvelope
from gateway.phoenix.http_types import AnswerLost
from tests.actions.events.gated_phoenix import BULK, GatedPhoenix, call, event, said, submit_to, until


async def test_a_callers_id_is_sent_once() -> None:
    """Singly and in batches: the first result, marked as a duplicate."""
    phoenix = GatedPhoenix()
    submit = submit_to(phoenix)
    first = await submit.one("", event("mine"), call(), is_id_given=True)
    again = await submit.one("", event("mine"), call(), is_id_given=True)
    batch = await submit.many("", [event("mine"), event("new")], {0, 1}, call())
    assert (first.duplicate, again.duplicate) == (False, True)
    assert said(batch) == ["duplicate", "accepted"]
    assert phoenix.ids == ["mine", "new"]


async def test_a_callers_id_with_other_content_is_refused() -> None:
    """Nothing of it is sent."""
    phoenix = GatedPhoenix()
    submit = submit_to(phoenix)
    await submit.one("", event("mine"), call(), is_id_given=True)
    with pytest.raises(errors.EventIdReused):
        await submit.one("", event("mine", score=2), call(), is_id_given=True)
    assert phoenix.ids == ["mine"]


async def test_an_id_twice_in_one_batch() -> None:
    """The same event is one event; another one under its id is refused; the rest is delivered."""
    phoenix = GatedPhoenix()
    events = [event("x"), event("x"), event("x", score=9), event("y")]
    results = await submit_to(phoenix).many("", events, {0, 1, 2, 3}, call())
    assert said(results) == ["accepted", "duplicate", "EVENT_ID_REUSED", "accepted"]
    assert phoenix.ids == ["x", "y"]


async def test_ids_that_the_gateway_made_are_not_looked_up() -> None:
    """They cannot come again."""
    phoenix = GatedPhoenix()
    submit = submit_to(phoenix)
    for _ in range(2):
        await submit.one("", event("made"), call(), is_id_given=False)
    assert phoenix.ids == ["made", "made"]


async def test_two_calls_with_the_same_event_at_once_send_it_once() -> None:
    """The second gets the first one's result."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    submit = submit_to(phoenix)
    both = [asyncio.create_task(submit.one("", event("x"), call(), is_id_given=True)) for _ in range(2)]
    await until(lambda: bool(phoenix.calls))
    phoenix.let_go()
    assert [False, True] == [one.duplicate for one in await asyncio.gather(*both)]
    assert phoenix.ids == ["x"]


async def test_two_batches_that_cross_do_not_wait_for_each_other_for_ever() -> None:
    """Each has what the other waits for."""
    phoenix = GatedPhoenix()
    submit = submit_to(phoenix, bulk=None)
    one = submit.many("", [event("x"), event("y")], {0, 1}, call())
    other = submit.many("", [event("y"), event("z"), event("x")], {0, 1, 2}, call())
    results = await asyncio.wait_for(asyncio.gather(one, other), 5)
    assert [said(each) for each in results] == [["accepted"] * 2, ["duplicate", "accepted", "duplicate"]]
    assert sorted(phoenix.ids) == ["x", "y", "z"]


async def test_a_lost_answer_is_unknown_and_stays_so_for_its_id() -> None:
    """Never a second sending behind anyone's back."""
    phoenix = GatedPhoenix(lambda request, ids: AnswerLost("cut"))
    submit = submit_to(phoenix)
    for _ in range(2):
        with pytest.raises(errors.OutcomeUnknown):
            await submit.one("", event("x"), call(), is_id_given=True)
    assert phoenix.ids == ["x"]


async def test_an_id_that_the_gateway_made_is_remembered_after_a_doubt() -> None:
    """The caller learns it from the error and may bring it again: the event is not sent a second time."""
    phoenix = GatedPhoenix(lambda request, ids: AnswerLost("cut"))
    submit = submit_to(phoenix)
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await submit.one("", event("made"), call(), is_id_given=False)
    assert "made" == caught.value.metadata["event_id"]
    with pytest.raises(errors.OutcomeUnknown):
        await submit.one("", event("made"), call(), is_id_given=True)
    (result,) = await submit.many("", [event("made")], {0}, call())
    assert said([result]) == ["OUTCOME_UNKNOWN"]
    assert phoenix.ids == ["made"]


async def test_a_made_id_in_doubt_is_sent_again_where_phoenix_deduplicates() -> None:
    """And a 409 is then the first sending that arrived."""
    answers: list[int | AnswerLost] = [AnswerLost("cut"), 500, 500, 409]
    phoenix = GatedPhoenix(lambda request, ids: answers.pop(0))
    submit = submit_to(phoenix, bulk=None, deduplicates=True)
    (result,) = await submit.many("", [event("made")], frozenset(), call(30.0))
    assert said([result]) == ["OUTCOME_UNKNOWN"]
    again = await submit.one("", event("made"), call(), is_id_given=True)
    assert again.duplicate


@pytest.mark.parametrize("bulk", BULK)
async def test_an_event_that_came_in_doubt_stays_so_however_its_repeat_fails(bulk: BulkEnvelope | None) -> None:
    """The first attempt may have counted, so the answer is not UNAVAILABLE, and the id is not forgotten."""
    answers: list[int | AnswerLost] = [500, 500, 500, 503, 503, 503, 422, 503, 503, 503]
    phoenix = GatedPhoenix(lambda request, ids: answers.pop(0))
    submit = submit_to(phoenix, bulk=bulk, deduplicates=True)
    for _ in range(3):
        (result,) = await submit.many("", [event("x")], {0}, call(30.0))
        assert said([result]) == ["OUTCOME_UNKNOWN"]


async def test_events_of_a_bulk_call_stay_in_doubt_when_the_route_is_gone_at_the_second_try() -> None:
    """The first try may have brought them; what follows one by one cannot deny it."""
    answers: list[int | AnswerLost] = [AnswerLost("cut"), 404, *[503] * 6]
    phoenix = GatedPhoenix(lambda request, ids: answers.pop(0))
    submit = submit_to(phoenix, deduplicates=True)
    results = await submit.many("", [event("a", "ada"), event("b", "bob")], frozenset(), call(30.0))
    assert said(results) == ["OUTCOME_UNKNOWN"] * 2


async def test_an_answer_after_its_caller_left_is_kept_for_the_next_call() -> None:
    """The event was on its way with others. Its call went on, and another call with the same id finds its result."""
    phoenix = GatedPhoenix()
    submit = submit_to(phoenix)
    phoenix.is_open = False
    first = asyncio.create_task(submit.one("t", event("first"), call(), is_id_given=True))
    await until(lambda: len(phoenix.calls) == 1)
    hasty = asyncio.create_task(submit.one("t", event("hasty"), call(), is_id_given=True))
    patient = asyncio.create_task(submit.one("t", event("patient"), call(), is_id_given=True))
    await asyncio.sleep(0)
    phoenix.let_go(0)
    await until(lambda: len(phoenix.calls) == 2)
    assert ["hasty", "patient"] == phoenix.calls[1][1]
    hasty.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hasty
    phoenix.let_go()
    await asyncio.gather(first, patient)
    again = await submit.one("t", event("hasty"), call(), is_id_given=True)
    assert (True, ["first", "hasty", "patient"]) == (again.duplicate, phoenix.ids)


async def test_an_id_of_unknown_outcome_is_sent_again_where_phoenix_deduplicates() -> None:
    """Within its time."""
    answers = [AnswerLost("cut")] * 3
    phoenix = GatedPhoenix(lambda request, ids: answers.pop() if answers else 202)
    submit = submit_to(phoenix, deduplicates=True)
    with pytest.raises(errors.OutcomeUnknown):
        await submit.one("", event("x"), call(), is_id_given=True)
    assert not (await submit.one("", event("x"), call(), is_id_given=True)).duplicate
    assert phoenix.ids == ["x"] * 4
