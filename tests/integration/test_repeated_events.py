"""Events end to end that come again: ids, lost answers, other forms of bulk, replicas."""

from __future__ import annotations

import base64
import secrets
import time
import uuid

import grpc
import pytest

from gateway.v1 import events_pb2
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.gateway_process import reason_of
from tests.integration.awaited_calls import eventually, refused
from tests.integration.event_calls import (
    ACCEPTED,
    DUPLICATE,
    INGESTION,
    Stub,
    a_gateway,
    batch,
    calls_of,
    event,
    metric,
    once_each,
    received,
    reported,
)
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess

__all__ = ["postgres_server", "postgres_url"]


def test_a_callers_id_is_sent_once_and_belongs_to_its_event(events: Stub, sandbox: SandboxProcess) -> None:
    """The same content in another form is the same event; other content is refused."""
    event_id = str(uuid.uuid4())
    struct = event(event_id=event_id)
    struct.metadata.update({"level": 7, "source": "test"})
    as_json = event(event_id=event_id, metadata_json=b'{ "source":"test", "level":7.0 }')
    first = events.SubmitEvent(events_pb2.SubmitEventRequest(event=struct))
    again = events.SubmitEvent(events_pb2.SubmitEventRequest(event=as_json))
    assert (ACCEPTED, DUPLICATE, 1) == (first.status, again.status, received(sandbox, event_id))
    other = events_pb2.SubmitEventRequest(event=event("bob", event_id))
    error = refused(lambda: events.SubmitEvent(other))
    assert (grpc.StatusCode.ALREADY_EXISTS, "EVENT_ID_REUSED") == (error.code(), reason_of(error))


def test_an_id_twice_in_a_batch(events: Stub, sandbox: SandboxProcess) -> None:
    """One event, one duplicate, one refusal; the rest is delivered."""
    mine = str(uuid.uuid4())
    request = events_pb2.SubmitEventsRequest(
        events=[event("ada", mine), event("ada", mine), event("bob", mine), event("eve")]
    )
    assert reported(events.SubmitEvents(request).results) == [ACCEPTED, DUPLICATE, "EVENT_ID_REUSED", ACCEPTED]
    assert received(sandbox, mine) == 1


def test_a_bulk_call_that_is_refused_as_a_whole_is_divided(events: Stub, sandbox: SandboxProcess) -> None:
    """No event is lost to it, none counted twice."""
    fault = {"surface": "ingestion", "path_prefix": "/v1/events/bulk", "kind": "status", "status": 422, "times": 3}
    sandbox.control("POST", "/faults", fault)
    results = events.SubmitEvents(batch(100)).results
    assert set(reported(results)) == {ACCEPTED}
    assert once_each(sandbox, [one.event_id for one in results])


@pytest.mark.parametrize("kind", ["lose_answer", "half", "garbage"])
def test_a_lost_answer_to_a_bulk_call_doubles_nothing(events: Stub, sandbox: SandboxProcess, kind: str) -> None:
    """Phoenix acted and its answer is gone or unreadable: asked again under the same ids."""
    sandbox.control("POST", "/faults", {**INGESTION, "kind": kind, "times": 1})
    results = events.SubmitEvents(batch(60), timeout=20).results
    assert {*reported(results)} <= {ACCEPTED, DUPLICATE}
    assert once_each(sandbox, [one.event_id for one in results])


@pytest.mark.parametrize("status", ["404", "405"])
def test_a_phoenix_without_bulk_calls_gets_single_ones(sandbox: SandboxProcess, status: str) -> None:
    """Said once in the log and in a metric."""
    sandbox.control("POST", "/settings", {"bulk": status})
    with a_gateway(sandbox) as (process, stub):
        ids = [one.event_id for _ in range(3) for one in stub.SubmitEvents(batch(40)).results]
        assert once_each(sandbox, ids)
        assert calls_of(sandbox) == {"/v1/events": 120, "/v1/events/bulk": 1}
        assert process.log_text.count("Phoenix has no bulk calls") == 1
        assert metric(process, 'phoenix_gateway_event_sending_events_total{event="bulk_not_served"}') == 1


def test_by_default_nothing_is_lost_or_doubled(sandbox: SandboxProcess) -> None:
    """Without bulk and deduplication: single calls, and an event with a lost answer is reported and not sent again."""
    sandbox.control("POST", "/settings", {"dedupe": False})
    defaults = {"PHOENIX_BULK_EVENTS": "off", "PHOENIX_DEDUPLICATES_EVENTS": "false"}
    with a_gateway(sandbox, **defaults) as (_, stub):
        results = stub.SubmitEvents(batch(100)).results
        assert once_each(sandbox, [one.event_id for one in results])
        assert calls_of(sandbox) == {"/v1/events": 100, "/v1/events/bulk": 0}
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "lose_answer", "times": 1})
        mine = str(uuid.uuid4())
        request = events_pb2.SubmitEventRequest(event=event(event_id=mine))
        for _ in range(3):  # also when the caller asks again under the same id
            assert reason_of(refused(lambda: stub.SubmitEvent(request))) == "OUTCOME_UNKNOWN"
        assert received(sandbox, mine) == 1


def test_bulk_without_deduplication_never_sends_again(sandbox: SandboxProcess) -> None:
    """A bare array; a lost answer makes each event of the call unknown."""
    sandbox.control("POST", "/settings", {"dedupe": False, "bulk_envelope": "array"})
    settings = {"PHOENIX_BULK_EVENTS": "array", "PHOENIX_DEDUPLICATES_EVENTS": "false"}
    with a_gateway(sandbox, **settings) as (_, stub):
        assert set(reported(stub.SubmitEvents(batch(30)).results)) == {ACCEPTED}
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "lose_answer", "times": 1})
        results = stub.SubmitEvents(batch(20)).results
        assert reported(results) == ["OUTCOME_UNKNOWN"] * 20
        assert {received(sandbox, one.event_id) for one in results} == {1}


def outcome_of(stub: Stub, request: events_pb2.SubmitEventRequest) -> tuple[grpc.StatusCode, str]:
    """Send an event. Return its status, with the reason if it is refused."""
    try:
        assert stub.SubmitEvent(request, timeout=10).status == ACCEPTED
    except grpc.RpcError as error:
        return error.code(), reason_of(error)
    return grpc.StatusCode.OK, ""


def test_a_failing_phoenix_opens_the_circuit_and_a_probe_closes_it(sandbox: SandboxProcess) -> None:
    """CIRCUIT_OPEN with RetryInfo, and nothing is sent. It recovers automatically."""
    request = events_pb2.SubmitEventRequest(event=event())
    with a_gateway(sandbox) as (process, stub):
        rounds = 0
        while True:
            rounds += 1
            assert rounds <= 10, "the machine allowed no round in time"
            sandbox.control("POST", "/faults", {**INGESTION, "kind": "cut"})
            reason, failed_at = "", 0.0
            for _ in range(8):  # the first failure may be on a kept connection, which does not count
                began = time.monotonic()
                reason = outcome_of(stub, request)[1]
                assert reason
                if reason == "CIRCUIT_OPEN":
                    break
                failed_at = began
            assert reason == "CIRCUIT_OPEN"
            sandbox.control("DELETE", "/faults")
            sandbox.control("DELETE", "/requests")
            found = outcome_of(stub, request)
            took_s = time.monotonic() - failed_at
            sent = sum(calls_of(sandbox).values())
            assert eventually(lambda: outcome_of(stub, request)[0] is grpc.StatusCode.OK, within_s=10)
            if took_s < 0.4:  # the circuit stays open for at least 0.5 s, and a call after that is a probe
                break
        assert (found, sent) == ((grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN"), 0)
        assert metric(process, 'phoenix_gateway_circuit_changes_total{state="closed",surface="ingestion"}') == rounds


def test_replicas_remember_ids_together_and_continue_without_redis(
    sandbox: SandboxProcess, redis_server: RedisProcess, postgres_url: str
) -> None:
    """What one sent the other answers from memory; with Redis gone nothing fails."""
    sandbox.control("POST", "/settings", {"dedupe": False})
    settings = {
        "REDIS_URL": redis_server.url,
        "DATABASE_URL": postgres_url,  # wallet evidence of several replicas
        "GATEWAY_CACHE_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
        "PHOENIX_DEDUPLICATES_EVENTS": "false",
    }
    ids = [str(uuid.uuid4()) for _ in range(200)]
    request = events_pb2.SubmitEventsRequest(events=[event(event_id=one) for one in ids])
    with a_gateway(sandbox, **settings) as (_, here), a_gateway(sandbox, **settings) as (_, there):
        assert reported(here.SubmitEvents(request).results) == [ACCEPTED] * 200
        # How an event ended is written to Redis behind the answer.
        assert eventually(lambda: reported(there.SubmitEvents(request).results) == [DUPLICATE] * 200, within_s=10)
        other = events_pb2.SubmitEventRequest(event=event("bob", ids[0]))
        assert reason_of(refused(lambda: there.SubmitEvent(other))) == "EVENT_ID_REUSED"
        assert once_each(sandbox, ids)
        redis_server.kill()
        assert reported(here.SubmitEvents(request).results) == [DUPLICATE] * 200
        fresh = events_pb2.SubmitEventsRequest(events=[event(event_id=str(uuid.uuid4())) for _ in range(50)])
        assert reported(there.SubmitEvents(fresh).results) == [ACCEPTED] * 50
