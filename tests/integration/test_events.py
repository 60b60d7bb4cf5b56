"""Events end to end, counted by a sandbox: batches, streams, coalescing, bad events."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from gateway.v1 import events_pb2
from tests.gateway_process import GatewayProcess, fields_of, reason_of
from tests.integration.awaited_calls import refused
from tests.integration.event_calls import (
    ACCEPTED,
    INGESTION,
    Stub,
    batch,
    calls_of,
    event,
    once_each,
    reported,
    scores_of,
)
from tests.sandbox_process import SandboxProcess


def test_a_thousand_events_go_in_ten_calls(events: Stub, sandbox: SandboxProcess) -> None:
    """Each counted once, each answered in its place."""
    results = events.SubmitEvents(batch(1000)).results
    assert set(reported(results)) == {ACCEPTED}
    assert once_each(sandbox, [one.event_id for one in results])
    assert calls_of(sandbox) == {"/v1/events": 0, "/v1/events/bulk": 10}


def test_events_of_many_callers_leave_together(events: Stub, sandbox: SandboxProcess) -> None:
    """50 concurrent callers: each gets its own answer, and there are far fewer calls to Phoenix than events."""
    sandbox.control("POST", "/faults", {**INGESTION, "kind": "delay", "delay_ms": 200})  # 4 calls at once: 20 a second

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
    scores = scores_of(sandbox)
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
