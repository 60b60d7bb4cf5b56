"""Durable events end to end: committed, delivered once and in order, dead letters with a reason, redriven."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.integration.awaited_calls import refused
from tests.integration.event_calls import INGESTION, event, metric, once_each, received, reported, scores_of
from tests.sandbox_process import SandboxProcess

__all__ = ["postgres_server", "postgres_url"]

Stub = events_pb2_grpc.EventServiceStub
QUEUED, DUPLICATE = events_pb2.EVENT_STATUS_QUEUED, events_pb2.EVENT_STATUS_DUPLICATE
DURABLE = events_pb2.DELIVERY_DURABLE


def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait until it holds. Raises: AssertionError."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def submit(events: Stub, *sent: events_pb2.Event) -> list[events_pb2.EventResult]:
    request = events_pb2.SubmitEventsRequest(events=sent, delivery=DURABLE)
    return list(events.SubmitEvents(request, timeout=20).results)


@contextmanager
def a_gateway(sandbox: SandboxProcess, **settings: str) -> Iterator[tuple[GatewayProcess, Stub]]:
    """A separate gateway with other settings."""
    environ = {**of_sandbox(sandbox.urls, sandbox.environ), **settings}
    with GatewayProcess(environ) as process, grpc.insecure_channel(process.address) as channel:
        yield process, Stub(channel)


def letters(events: Stub, **more: Any) -> list[events_pb2.DeadLetter]:
    return list(events.ListDeadLetters(events_pb2.ListDeadLettersRequest(**more), timeout=10).dead_letters)


def redrive(events: Stub, *ids: str, **more: Any) -> list[Any]:
    request = events_pb2.RedriveDeadLettersRequest(event_ids=ids, **more)
    return reported(events.RedriveDeadLetters(request, timeout=10).results)


def test_a_durable_event_is_answered_queued_and_delivered_once(events: Stub, sandbox: SandboxProcess) -> None:
    """By SubmitEvent; its repeat is a duplicate, other content under its id is refused."""
    request = events_pb2.SubmitEventRequest(event=event("ada", "durable-1"), delivery=DURABLE)
    first = events.SubmitEvent(request, timeout=10)
    assert ("durable-1", QUEUED) == (first.event_id, first.status)
    assert first.accept_time.seconds > 1_700_000_000
    assert DUPLICATE == events.SubmitEvent(request, timeout=10).status
    until(lambda: once_each(sandbox, ["durable-1"]))
    assert DUPLICATE == events.SubmitEvent(request, timeout=10).status
    other = events_pb2.SubmitEventRequest(event=event("bob", "durable-1"), delivery=DURABLE)
    assert "EVENT_ID_REUSED" == reason_of(refused(lambda: events.SubmitEvent(other, timeout=10)))
    assert 1 == received(sandbox, "durable-1")


def test_a_batch_of_a_thousand_is_delivered_in_each_users_order(events: Stub, sandbox: SandboxProcess) -> None:
    """A bad event in it costs itself only."""
    batch = [
        events_pb2.Event(leaderboard_id="xp", user_id=f"u{place % 40}", score_delta=place + 1) for place in range(999)
    ]
    results = submit(events, *batch, event(""))
    assert [QUEUED] * 999 + ["INVALID_FIELD"] == reported(results)
    until(lambda: once_each(sandbox, [one.event_id for one in results[:-1]]))
    seen = scores_of(sandbox)
    assert {f"u{user}" for user in range(40)} <= seen.keys()
    assert all(scores == sorted(scores) for scores in seen.values())


def test_a_durable_stream_is_acknowledged_once_committed(events: Stub, sandbox: SandboxProcess) -> None:
    """While Phoenix hangs, the acknowledgements come all the same; everything arrives in order afterwards."""
    fault = sandbox.control("POST", "/faults", {**INGESTION, "kind": "delay", "delay_ms": 1500, "times": 2})
    messages = [
        events_pb2.StreamEventsRequest(
            sequence=number + 1,
            delivery=DURABLE,
            events=[
                events_pb2.Event(leaderboard_id="xp", user_id=f"s{place % 3}", score_delta=number * 10 + place + 1)
                for place in range(9)
            ],
        )
        for number in range(12)
    ]
    answers = list(events.StreamEvents(iter(messages), timeout=20))
    results = [result for answer in answers for result in answer.results]
    assert [QUEUED] * 108 == reported(results)
    sandbox.control("DELETE", f"/faults/{fault['id']}")
    until(lambda: once_each(sandbox, [one.event_id for one in results]))
    seen = scores_of(sandbox)
    assert {"s0", "s1", "s2"} <= seen.keys()
    assert all(scores == sorted(scores) for scores in seen.values())


def test_a_phoenix_that_is_down_for_a_while_gets_everything(sandbox: SandboxProcess) -> None:
    """Events are accepted in the meantime, and the queue reports its depth and age."""
    with a_gateway(sandbox) as (process, events):
        fault = sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": 503})
        results = submit(events, *(event(f"u{n}", f"down-{n}") for n in range(150)))
        assert [QUEUED] * 150 == reported(results)
        until(lambda: metric(process, "phoenix_gateway_queue_events ") == 150)
        until(lambda: metric(process, "phoenix_gateway_queue_oldest_seconds") > 0)
        sandbox.control("DELETE", f"/faults/{fault['id']}")
        until(lambda: once_each(sandbox, [f"down-{n}" for n in range(150)]), within_s=60)
        until(lambda: metric(process, "phoenix_gateway_queue_events ") == 0)
        assert 150 == metric(process, 'phoenix_gateway_durable_events_total{event="delivered"}')


def test_refused_events_are_listed_with_their_reason_and_redriven(sandbox: SandboxProcess) -> None:
    """A dead letter does not block its user's later events. After a redrive, it arrives."""
    with a_gateway(sandbox, PHOENIX_BULK_EVENTS="off") as (process, events):
        fault = sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": 422, "times": 2})
        submit(events, event("ada", "dead-1"))
        until(lambda: len(letters(events)) == 1)
        submit(events, event("bob", "dead-2"))
        until(lambda: len(letters(events)) == 2)
        sandbox.control("DELETE", f"/faults/{fault['id']}")
        first = letters(events)[0]
        assert ("dead-1", "ada", "xp", "PHOENIX_REFUSED_STATE") == (
            first.event_id,
            first.user_id,
            first.leaderboard_id,
            first.reason,
        )
        assert "dead-1" == json.loads(first.event_json)["event_id"]
        assert "PHOENIX_REFUSED_STATE" == reason_of(
            refused(
                lambda: events.SubmitEvent(
                    events_pb2.SubmitEventRequest(event=event("ada", "dead-1"), delivery=DURABLE), timeout=10
                )
            )
        )
        page = events.ListDeadLetters(events_pb2.ListDeadLettersRequest(page_size=1), timeout=10)
        rest = events.ListDeadLetters(
            events_pb2.ListDeadLettersRequest(page_size=1, page_token=page.next_page_token), timeout=10
        )
        assert (["dead-1"], ["dead-2"], "") == (
            [one.event_id for one in page.dead_letters],
            [one.event_id for one in rest.dead_letters],
            rest.next_page_token,
        )
        assert [] == letters(events, reason="OUTCOME_UNKNOWN")
        assert 2 == metric(process, 'phoenix_gateway_dead_letters_total{reason="PHOENIX_REFUSED_STATE"}')
        assert [QUEUED, "PHOENIX_NOT_FOUND"] == redrive(events, "dead-1", "nowhere")
        until(lambda: once_each(sandbox, ["dead-1"]))
        assert [QUEUED] == redrive(events)
        until(lambda: once_each(sandbox, ["dead-1", "dead-2"]))
        assert [] == letters(events)


def test_a_lost_answer_is_a_dead_letter_that_is_redriven_only_on_demand(sandbox: SandboxProcess) -> None:
    """Where Phoenix is not known to deduplicate: nothing is sent twice in silence."""
    with a_gateway(sandbox, PHOENIX_BULK_EVENTS="off", PHOENIX_DEDUPLICATES_EVENTS="false") as (_, events):
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "lose_answer", "times": 1})
        submit(events, event("ada", "lost-1"), event("ada", "lost-2"))
        until(lambda: once_each(sandbox, ["lost-1", "lost-2"]))
        until(lambda: len(letters(events)) == 1)
        (letter,) = letters(events)
        assert ("lost-1", "OUTCOME_UNKNOWN") == (letter.event_id, letter.reason)
        assert letter.HasField("first_send_time")
        assert ["INVALID_FIELD"] == redrive(events, "lost-1")
        assert [] == redrive(events)
        assert 1 == received(sandbox, "lost-1")
        assert [QUEUED] == redrive(events, "lost-1", may_count_twice=True)
        until(lambda: received(sandbox, "lost-1") == 2)


def test_a_full_queue_is_refused_with_a_time_to_wait(sandbox: SandboxProcess) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo; streams get it for each event."""
    with a_gateway(sandbox, GATEWAY_QUEUE_EVENTS="5") as (_, events):
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": 503})
        submit(events, *(event(f"u{n}") for n in range(5)))
        error = refused(lambda: submit(events, event()))
        assert ("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED) == (reason_of(error), error.code())
        assert retry_s(error) == 5
        message = events_pb2.StreamEventsRequest(sequence=1, delivery=DURABLE, events=[event(), event()])
        (answer,) = events.StreamEvents(iter([message]), timeout=10)
        assert ["OVERLOADED"] * 2 == reported(answer.results)


def retry_s(error: grpc.RpcError) -> int:
    status = status_of_error(error)
    for detail in status.details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.seconds
    return -1


def status_of_error(error: Any) -> status_pb2.Status:
    held = dict(error.trailing_metadata())["grpc-status-details-bin"]
    return status_pb2.Status.FromString(held)


def test_a_killed_gateway_loses_and_doubles_nothing(sandbox: SandboxProcess) -> None:
    """SIGKILL during a load, twice. Acknowledged events arrive exactly once."""
    answered: list[str] = []
    with a_gateway(sandbox) as (process, events):
        for turn in range(3):
            for call in range(4):
                sent = [event(f"u{n % 30}", f"kill-{turn}-{call}-{n}") for n in range(100)]
                results = submit(events, *sent)
                assert [QUEUED] * 100 == reported(results)
                answered += [one.event_id for one in results]
            if turn < 2:
                process.stop(signal.SIGKILL)
                process.start()
                process.wait_serving("phoenix.gateway.v1.EventService")
        until(lambda: once_each(sandbox, answered), within_s=60)


def test_a_stopped_gateway_leaves_its_queue_to_the_next(sandbox: SandboxProcess) -> None:
    """SIGTERM while Phoenix is down: nothing is lost, and nothing waits for a lease."""
    with a_gateway(sandbox) as (process, events):
        fault = sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": 503})
        submit(events, *(event(f"u{n}", f"stop-{n}") for n in range(20)))
        assert 0 == process.stop(signal.SIGTERM)
        sandbox.control("DELETE", f"/faults/{fault['id']}")
        process.start()
        until(lambda: once_each(sandbox, [f"stop-{n}" for n in range(20)]), within_s=60)


def test_two_gateways_on_postgres_keep_each_event_once(sandbox: SandboxProcess, postgres_url: str) -> None:
    """Both get the same calls at the same time. One of them answers "queued", and each event is sent once."""
    with (
        a_gateway(sandbox, DATABASE_URL=postgres_url) as (_, one),
        a_gateway(sandbox, DATABASE_URL=postgres_url) as (_, two),
        ThreadPoolExecutor(8) as pool,
    ):
        calls = [[event(f"u{n % 13}", f"both-{call}-{n}") for n in range(50)] for call in range(8)]
        asked = [pool.submit(submit, stub, *sent) for sent in calls for stub in (one, two)]
        told_of = [reported(each.result()) for each in asked]
        for first, second in zip(told_of[::2], told_of[1::2], strict=True):
            assert [{QUEUED, DUPLICATE}] * 50 == [set(pair) for pair in zip(first, second, strict=True)]
        until(lambda: once_each(sandbox, [each.event_id for sent in calls for each in sent]), within_s=60)
