"""Events end to end, counted by a sandbox: batches, streams, coalescing, repeats, lost answers, forms of bulk."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.gateway_process import GatewayProcess, fields_of, of_sandbox, reason_of
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess

__all__ = ["postgres_server", "postgres_url"]

Stub = events_pb2_grpc.EventServiceStub
ACCEPTED, DUPLICATE = events_pb2.EVENT_STATUS_ACCEPTED, events_pb2.EVENT_STATUS_DUPLICATE

INGESTION = {"surface": "ingestion", "path_prefix": "/v1/"}
"""Where faults are set: not on /health, by which the gateway would turn its service off for other tests."""


@pytest.fixture
def events(channel: grpc.Channel) -> Stub:
    return Stub(channel)


@contextmanager
def a_gateway(sandbox: SandboxProcess, **settings: str) -> Iterator[tuple[GatewayProcess, Stub]]:
    """A separate gateway with other settings."""
    environ = {**of_sandbox(sandbox.urls, sandbox.environ), **settings}
    with GatewayProcess(environ) as process, grpc.insecure_channel(process.address) as channel:
        yield process, Stub(channel)


def event(user: str = "ada", event_id: str = "", **more: Any) -> events_pb2.Event:
    return events_pb2.Event(leaderboard_id="xp", user_id=user, score_delta=1, event_id=event_id, **more)


def batch(count: int, users: int = 50) -> events_pb2.SubmitEventsRequest:
    return events_pb2.SubmitEventsRequest(events=[event(f"u{number % users}") for number in range(count)])


def reason_in(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    return info.reason if status.details and status.details[0].Unpack(info) else ""


def reported(results: Sequence[events_pb2.EventResult]) -> list[Any]:
    return [reason_in(one.error) if one.HasField("error") else one.status for one in results]


def once_each(sandbox: SandboxProcess, ids: Sequence[str]) -> bool:
    """Whether the sandbox took each id exactly once, and nothing else."""
    counted = sandbox.control("POST", "/effects", {"event_ids": list(ids)})
    return set(counted["effects"].values()) == {1} and counted["total"] == len(ids) == counted["event_ids"]


def calls_of(sandbox: SandboxProcess) -> dict[str, int]:
    """Calls by path."""
    paths = [one["path"] for one in sandbox.control("GET", "/requests?surface=ingestion")["requests"]]
    return {path: paths.count(path) for path in ("/v1/events", "/v1/events/bulk")}


def received(sandbox: SandboxProcess, event_id: str) -> int:
    return int(sandbox.control("GET", f"/effects?event_id={event_id}")["received"])


def refused(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value


def metric(process: GatewayProcess, name: str) -> float:
    """One series as scraped."""
    with build_opener(ProxyHandler({})).open(f"http://{process.admin_address}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(name)))


def test_a_thousand_events_go_in_ten_calls(events: Stub, sandbox: SandboxProcess) -> None:
    """Each counted once, each answered in its place."""
    results = events.SubmitEvents(batch(1000)).results
    assert set(reported(results)) == {ACCEPTED}
    assert once_each(sandbox, [one.event_id for one in results])
    assert calls_of(sandbox) == {"/v1/events": 0, "/v1/events/bulk": 10}


def test_events_of_many_callers_leave_together(events: Stub, sandbox: SandboxProcess) -> None:
    """50 concurrent callers: each gets its own answer, and there are far fewer calls to Phoenix than events."""
    sandbox.control("POST", "/faults", {**INGESTION, "kind": "delay", "delay_ms": 50})

    def caller(number: int) -> list[str]:
        return [
            events.SubmitEvent(events_pb2.SubmitEventRequest(event=event(f"u{number}")), timeout=10).event_id
            for _ in range(5)
        ]

    with ThreadPoolExecutor(50) as pool:
        ids = [event_id for made in pool.map(caller, range(50)) for event_id in made]
    assert once_each(sandbox, ids)
    assert sum(calls_of(sandbox).values()) < 100


def test_an_event_at_an_idle_gateway_goes_alone(events: Stub, sandbox: SandboxProcess) -> None:
    """By the single route."""
    events.SubmitEvent(events_pb2.SubmitEventRequest(event=event()))
    assert calls_of(sandbox) == {"/v1/events": 1, "/v1/events/bulk": 0}


def test_a_stream_is_acknowledged_in_order_and_keeps_each_users_order(events: Stub, sandbox: SandboxProcess) -> None:
    """30 messages of 100 events, in gaps of sequence; the sandbox sees each user's scores rise."""
    messages = [
        events_pb2.StreamEventsRequest(
            sequence=10 * (number + 1),
            events=[
                events_pb2.Event(leaderboard_id="xp", user_id=f"u{place % 7}", score_delta=number * 100 + place + 1)
                for place in range(100)
            ],
        )
        for number in range(30)
    ]
    answers = list(events.StreamEvents(iter(messages), timeout=30))
    assert [one.sequence for one in answers] == [one.sequence for one in messages]
    results = [result for answer in answers for result in answer.results]
    assert set(reported(results)) == {ACCEPTED}
    assert once_each(sandbox, [one.event_id for one in results])
    scores: dict[str, list[int]] = {}
    for one in sandbox.control("GET", "/requests?surface=ingestion")["requests"]:
        for sent in json.loads(base64.b64decode(one["body_base64"]))["events"]:
            scores.setdefault(sent["user_id"], []).append(sent["score_delta"])
    assert {f"u{user}" for user in range(7)} <= scores.keys()
    assert all(each == sorted(each) for each in scores.values())


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (events_pb2.StreamEventsRequest(sequence=9), "events"),
        (events_pb2.StreamEventsRequest(sequence=9, events=[event()] * 1001), "events"),
        (events_pb2.StreamEventsRequest(sequence=2, events=[event()]), "sequence"),
        (events_pb2.StreamEventsRequest(events=[event()]), "sequence"),
    ],
)
def test_a_message_against_the_contract_ends_the_stream_after_those_before_it(
    events: Stub, bad: events_pb2.StreamEventsRequest, field: str
) -> None:
    """Their acknowledgements come, then the error with the field."""
    good = [events_pb2.StreamEventsRequest(sequence=number, events=[event()]) for number in (1, 2)]
    answers = events.StreamEvents(iter([*good, bad]), timeout=10)
    assert [next(answers).sequence, next(answers).sequence] == [1, 2]
    error = refused(lambda: next(answers))
    assert ("INVALID_FIELD", [field]) == (reason_of(error), fields_of(error))


def test_a_stream_continues_after_events_that_fail(events: Stub, sandbox: SandboxProcess) -> None:
    """An unknown tenant and a bad event cost themselves only."""
    messages = [
        events_pb2.StreamEventsRequest(sequence=1, tenant_id="tenant-other", events=[event(), event()]),
        events_pb2.StreamEventsRequest(sequence=2, events=[event(""), event()]),
    ]
    answers = list(events.StreamEvents(iter(messages), timeout=10))
    assert [reported(one.results) for one in answers] == [["TENANT_UNKNOWN"] * 2, ["INVALID_FIELD", ACCEPTED]]


async def once_accepted(gateway: GatewayProcess) -> None:
    """Wait until an event passes: the circuit may be open after the test before."""
    until = time.monotonic() + 20
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        while True:
            try:
                await Stub(channel).SubmitEvent(events_pb2.SubmitEventRequest(event=event("first")), timeout=5)
            except grpc.aio.AioRpcError:
                assert time.monotonic() < until
                await asyncio.sleep(0.1)
            else:
                return


async def test_a_stream_is_read_no_faster_than_it_is_delivered(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """While Phoenix hangs, the client's writes block. Everything is delivered afterwards."""
    await once_accepted(gateway)
    await sandbox.control_async("POST", "/faults", {**INGESTION, "kind": "delay", "delay_ms": 2000, "times": 40})
    padding = json.dumps({"m": "x" * 20_000}).encode()
    written = 0
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        stream = Stub(channel).StreamEvents(timeout=50)

        async def write() -> None:
            nonlocal written
            for number in range(20):
                message = events_pb2.StreamEventsRequest(sequence=number + 1)
                message.events.extend(event(f"u{number}", metadata_json=padding) for _ in range(100))
                await stream.write(message)
                written += 1
            await stream.done_writing()

        writing = asyncio.create_task(write())
        await asyncio.sleep(1.0)
        assert written < 12
        await sandbox.control_async("DELETE", "/faults")
        sequences = [answer.sequence async for answer in stream]
        await writing
    assert sequences == list(range(1, 21))


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


BAD: list[dict[str, Any]] = [
    {"user_id": ""},
    {"user_id": "a\nb"},
    {"score_delta": float("nan")},
    {"metadata_json": b"[1]"},
    {"metadata_json": b'{"a":1}{"b":2}'},
    {"metadata_json": b'{"a":1,"a":2}'},
    {"metadata_json": b'{"a":{"b":1,"b":2}}'},
    {"metadata_json": b'{"a":' * 33 + b"1" + b"}" * 33},
    {"metadata_json": b'{"a":"\xff"}'},
    {"metadata_json": b'{"a":"' + b"x" * 65_536 + b'"}'},
    {"event_id": "x" * 129},
]


def test_every_bad_event_costs_only_itself(events: Stub, sandbox: SandboxProcess) -> None:
    """Each error names its index; the events between them are delivered."""
    fields: dict[str, Any] = {"leaderboard_id": "xp", "user_id": "u", "score_delta": 1}
    mixed = [one for bad in BAD for one in (events_pb2.Event(**{**fields, **bad}), event())]
    results = events.SubmitEvents(events_pb2.SubmitEventsRequest(events=mixed)).results
    assert reported(results) == ["INVALID_FIELD", ACCEPTED] * len(BAD)
    assert all(f"events[{2 * place}]" in results[2 * place].error.message for place in range(len(BAD)))
    assert all(one.error.code == code_pb2.INVALID_ARGUMENT for one in results[::2])


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_of_no_or_too_many_events_is_refused(events: Stub, count: int) -> None:
    """As a whole, before anything is sent."""
    error = refused(lambda: events.SubmitEvents(batch(count)))
    assert (grpc.StatusCode.INVALID_ARGUMENT, ["events"]) == (error.code(), fields_of(error))


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


def test_a_failing_phoenix_opens_the_circuit_and_a_probe_closes_it(sandbox: SandboxProcess) -> None:
    """CIRCUIT_OPEN with RetryInfo, and nothing is sent. It recovers automatically."""
    request = events_pb2.SubmitEventRequest(event=event())
    with a_gateway(sandbox) as (process, stub):
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "cut"})
        # The first failure may be on a kept connection, which does not count.
        reasons = [reason_of(refused(lambda: stub.SubmitEvent(request, timeout=10))) for _ in range(8)]
        assert reasons[-1] == "CIRCUIT_OPEN"
        sandbox.control("DELETE", "/faults")
        sandbox.control("DELETE", "/requests")
        error = refused(lambda: stub.SubmitEvent(request))
        assert (grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN") == (error.code(), reason_of(error))
        assert sum(calls_of(sandbox).values()) == 0
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                assert stub.SubmitEvent(request).status == ACCEPTED
                break
            except grpc.RpcError:
                time.sleep(0.05)
        assert metric(process, 'phoenix_gateway_circuit_changes_total{state="closed",surface="ingestion"}') == 1


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
        assert reported(there.SubmitEvents(request).results) == [DUPLICATE] * 200
        other = events_pb2.SubmitEventRequest(event=event("bob", ids[0]))
        assert reason_of(refused(lambda: there.SubmitEvent(other))) == "EVENT_ID_REUSED"
        assert once_each(sandbox, ids)
        redis_server.kill()
        assert reported(here.SubmitEvents(request).results) == [DUPLICATE] * 200
        fresh = events_pb2.SubmitEventsRequest(events=[event(event_id=str(uuid.uuid4())) for _ in range(50)])
        assert reported(there.SubmitEvents(fresh).results) == [ACCEPTED] * 50
