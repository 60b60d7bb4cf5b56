"""The rings of calls: bounded, failures longer than successes, found by each of their ids."""

from __future__ import annotations

from typing import Any

from gateway.errors.tries import Try
from gateway.telemetry.call_stories import KEPT_S, CallStories, EventFailure, Kind, StorySettings
from tests.manual_clock import ManualClock

SMALL = StorySettings(failures=3, refusals=2, successes=2, failed_events=3, events=3)


def fields(request_id: str, **more: Any) -> dict[str, Any]:
    return {"method": "/s/M", "request_id": request_id, "status": "OK", "duration_ms": 5.0, **more}


def ids_found(stories: CallStories, ids: list[str]) -> list[str]:
    return [one for one in ids if stories.find(one)]


def test_neither_successes_nor_refusals_push_failures_out() -> None:
    """Each kind has a bound of its own; the oldest leaves first."""
    clock = ManualClock()
    stories = CallStories(clock, SMALL)
    for number in range(10):
        for kind in Kind:
            stories.add(clock.monotonic(), fields(f"{kind.value}-{number}"), (), kind)
    kept = {kind: ids_found(stories, [f"{kind.value}-{number}" for number in range(10)]) for kind in Kind}
    assert kept == {
        Kind.FAILED: ["failures-7", "failures-8", "failures-9"],
        Kind.REFUSED: ["refusals-8", "refusals-9"],
        Kind.FINE: ["successes-8", "successes-9"],
    }


def test_a_call_is_found_by_each_of_its_ids_and_forgotten_after_an_hour() -> None:
    """By its own, by the webhook's and by the operation's."""
    clock = ManualClock()
    stories = CallStories(clock, SMALL)
    stories.add(clock.monotonic(), fields("r", webhook_request_id="w", operation_id="o"), (), Kind.FINE)
    assert ids_found(stories, ["r", "w", "o", "/s/M", "OK"]) == ["r", "w", "o"]
    clock.advance(KEPT_S + 1)
    assert ids_found(stories, ["r", "w", "o"]) == []


def test_the_newest_of_several_comes_first_with_its_time() -> None:
    """A webhook that Phoenix repeats has several calls."""
    clock = ManualClock()
    stories = CallStories(clock, SMALL)
    for number in range(2):
        stories.add(clock.monotonic(), fields(f"r-{number}", webhook_request_id="w"), (), Kind.FAILED)
        clock.advance(60)
    first, second = stories.find("w")
    assert [first["request_id"], second["request_id"]] == ["r-1", "r-0"]
    assert [round(clock.now() - one["ended_at"]) for one in (first, second)] == [60, 120]


def test_a_story_tells_each_try_and_how_often_the_same_failed() -> None:
    """Times count from the arrival of the call."""
    clock = ManualClock()
    stories = CallStories(clock, SMALL)
    now = clock.monotonic()
    tries = [Try(began_at=now - 0.004, took_s=0.003, address="http://h:1", how="not_sent", errno="ECONNREFUSED")]
    for name in ("a", "b"):
        stories.add(now, fields(name, reason="PHOENIX_UNAVAILABLE", caller="game"), tries, Kind.FAILED)
    stories.add(now, fields("c", reason="PHOENIX_UNAVAILABLE", caller="other"), tries, Kind.FAILED)
    (story,) = stories.find("a")
    sent = {"address": "http://h:1", "after_ms": 1.0, "took_ms": 3.0, "how": "not_sent", "errno": "ECONNREFUSED"}
    assert (story["sent"], story["alike"]["count"]) == ([sent], 2)


def test_events_are_found_by_their_ids_and_bounded_by_their_number() -> None:
    """Each with its own result. A failure of one does not hide that the others were accepted."""
    stories = CallStories(ManualClock(), SMALL)
    failed = EventFailure("FAILED", {"reason": "OUTCOME_UNKNOWN"}, ())
    stories.add_events({"request_id": "r", "method": "/s/M"}, (), ["e1", "e2"], {"e2": failed})
    stories.add_events({"request_id": "q", "delivery": "durable"}, (), ["e3"], {})
    told = {one: stories.find(one)[0] for one in ("e1", "e2", "e3")}
    assert {one: story["result"] for one, story in told.items()} == {"e1": "ACCEPTED", "e2": "FAILED", "e3": "QUEUED"}
    assert (told["e2"]["reason"], told["e2"]["request_id"]) == ("OUTCOME_UNKNOWN", "r")
    stories.add_events({"request_id": "s"}, (), ["e4", "e5", "e6", "e7"], {"e5": failed})
    assert ids_found(stories, [f"e{number}" for number in range(1, 8)]) == ["e2", "e4", "e5", "e6", "e7"]


def test_events_that_come_again_push_no_failure_out() -> None:
    """A client that resends whole messages after a reconnect makes duplicates."""
    stories = CallStories(ManualClock(), SMALL, shares=True)
    failed, again = EventFailure("FAILED", {"reason": "OUTCOME_UNKNOWN"}, ()), EventFailure("DUPLICATE", {}, ())
    stories.add_events({"request_id": "r"}, (), ["lost"], {"lost": failed})
    for number in range(10):
        stories.add_events({"request_id": "q"}, (), [f"e{number}"], {f"e{number}": again})
    assert [stories.find(one)[0]["result"] for one in ("lost", "e9")] == ["FAILED", "DUPLICATE"]
    assert [ids for ids, _, _ in stories.take_unshared(50, 10)] == [("lost",)]


def test_what_is_shown_to_other_replicas_is_bounded_and_shown_once() -> None:
    """Failures first; a flood of successes costs no more than its share."""
    clock = ManualClock()
    stories = CallStories(clock, shares=True)
    for number in range(200):
        stories.add(clock.monotonic(), fields(f"f-{number}"), (), Kind.FAILED)
        stories.add(clock.monotonic(), fields(f"s-{number}"), (), Kind.FINE)
    shown = [(ids[0], kind) for ids, _, kind in stories.take_unshared(50, 10)]
    assert (len(shown), shown[0]) == (60, ("f-199", Kind.FAILED))
    assert [kind for _, kind in shown] == [Kind.FAILED] * 50 + [Kind.FINE] * 10
    assert list(stories.take_unshared(50, 10)) == []
