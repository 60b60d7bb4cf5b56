"""What becomes of calls that are switched off: webhooks, tenants, callers, durable events, streams."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest

from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    wallet_pb2,
    wallet_pb2_grpc,
)
from tests.gateway_process import reason_of
from tests.integration.switched_gateways import WITHIN_S, Fleet, all_on, fleet, mint, outcome_of, wait_until
from tests.integration.test_wallet import outcome, reserve
from tests.sandbox_process import SandboxProcess

__all__ = ["all_on", "fleet"]

STREAM_EVENTS = "method:/phoenix.gateway.v1.EventService/StreamEvents"
EVENT = events_pb2.Event(leaderboard_id="b", user_id="u", score_delta=1)


def test_a_webhook_of_an_operator_that_is_off_is_no_final_refusal(
    fleet: Fleet, sandbox_process: SandboxProcess
) -> None:
    """The call fails with UNAVAILABLE, so the wallet answers 503. Outcomes of earlier claims can still be recorded."""
    first, second = (wallet_pb2_grpc.WalletServiceStub(channel) for channel in fleet.channels)
    claimed = first.VerifyWallet(reserve(sandbox_process), timeout=5)
    fleet.switch("operator:acme/sandbox", off=True)
    for channel in fleet.channels:
        wait_until(channel, lambda found: found == "DISABLED")
    webhook = reserve(sandbox_process)
    assert outcome_of(lambda: second.VerifyWallet(webhook, timeout=5)) == "DISABLED"
    second.RecordWalletOutcome(outcome(claimed), timeout=5)
    fleet.switch("operator:acme/sandbox", off=False)
    wait_until(fleet.channels[1], lambda found: found == "OK")
    assert second.VerifyWallet(webhook, timeout=5).disposition == wallet_pb2.WALLET_DISPOSITION_NEW


def test_a_tenant_and_a_caller_that_are_off(fleet: Fleet, sandbox_process: SandboxProcess) -> None:
    """A tenant: events and boards, not the operator's tokens. The caller: everything."""

    def read(channel: grpc.Channel) -> str:
        stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        request = leaderboards_pb2.ListSnapshotsRequest(leaderboard_id="b")
        try:
            stub.ListSnapshots(request, timeout=5)
        except grpc.RpcError as error:
            return reason_of(error)
        return "OK"

    fleet.switch(f"tenant:{sandbox_process.environ['TENANT_ID']}", off=True)
    for channel in fleet.channels:
        wait_until(channel, lambda found: found == "DISABLED", read)
        assert mint(channel) == "OK"
    fleet.switch("caller:local", off=True)
    for channel in fleet.channels:
        wait_until(channel, lambda found: found == "DISABLED")
        keys = keys_pb2_grpc.KeyServiceStub(channel)
        assert outcome_of(lambda keys=keys: keys.ListKeys(keys_pb2.ListKeysRequest(), timeout=5)) == "DISABLED"  # type: ignore[misc]
    fleet.switch("caller:local", off=False)
    for channel in fleet.channels:
        wait_until(channel, lambda found: found == "OK")


def test_durable_events_of_a_tenant_that_is_off_wait(fleet: Fleet, sandbox_process: SandboxProcess) -> None:
    """Accepted events stay in the queue until the tenant is enabled again. The audit log has both changes."""
    if fleet.redis is not None:
        pytest.skip("the same with a file")
    tenant = sandbox_process.environ["TENANT_ID"]

    def arrived() -> int:
        counts = sandbox_process.control("GET", "/counts")["counts"]
        return sum(one["count"] for one in counts if one["surface"] == "ingestion" and "health" not in one["route"])

    def put(channel: grpc.Channel) -> str:
        stub = events_pb2_grpc.EventServiceStub(channel)
        event = events_pb2.Event(leaderboard_id="durable", user_id="u", score_delta=1)
        request = events_pb2.SubmitEventRequest(event=event, delivery=events_pb2.DELIVERY_DURABLE)
        return outcome_of(lambda: stub.SubmitEvent(request, timeout=10))

    fault = {"surface": "ingestion", "kind": "status", "status": 503, "times": 1000}
    sandbox_process.control("POST", "/faults", fault)  # Phoenix is in trouble: the event stays in the queue
    assert put(fleet.channels[0]) == "OK"
    fleet.switch(f"tenant:{tenant}", off=True)
    for channel in fleet.channels:
        wait_until(channel, lambda found: found == "DISABLED", put)
    time.sleep(WITHIN_S)  # what was under way has ended
    sandbox_process.control("DELETE", "/faults")
    before = arrived()
    time.sleep(2 * WITHIN_S)  # long enough for an event that may leave to leave
    assert arrived() == before
    fleet.switch(f"tenant:{tenant}", off=False)
    until = time.monotonic() + 60
    while arrived() == before and time.monotonic() < until:
        time.sleep(0.1)
    assert arrived() > before
    until = time.monotonic() + 20
    while not [one for one in fleet.records() if one["kind"] == "delivered"] and time.monotonic() < until:
        time.sleep(0.05)
    records = fleet.records()
    record = next((one for one in records if one["kind"] == "delivered"), None)
    assert record is not None, "\n".join(one.log_text[-6000:] for one in fleet.gateways)
    assert (record["tenant"], record["key_id"]) == (tenant, f"{tenant}/hmac")


def test_a_stream_that_runs_ends_with_its_next_message(fleet: Fleet) -> None:
    """Calls that were accepted before do not continue, a second after the switch at the latest."""
    took: list[float] = []
    while len(took) < 3 and not (took and took[-1] < WITHIN_S):  # a busy machine may be late once
        fleet.switch(STREAM_EVENTS, off=False)
        wait_until(fleet.channels[0], lambda found: found == "OK", new_stream)
        took.append(off_during_a_stream(fleet))
    assert min(took) < WITHIN_S, took


def new_stream(channel: grpc.Channel) -> str:
    """What the first message of another stream gets."""
    stub = events_pb2_grpc.EventServiceStub(channel)
    request = events_pb2.StreamEventsRequest(events=[EVENT], sequence=1)
    return outcome_of(lambda: next(stub.StreamEvents(iter([request]), timeout=5)))


def off_during_a_stream(fleet: Fleet) -> float:
    """Switch the method off between two messages. Return the seconds until new streams were refused."""
    channel = fleet.channels[0]
    is_off = False

    def requests() -> Iterator[events_pb2.StreamEventsRequest]:
        yield events_pb2.StreamEventsRequest(events=[EVENT], sequence=1)
        while not is_off:
            time.sleep(0.02)
        yield events_pb2.StreamEventsRequest(events=[EVENT], sequence=2)

    stream = events_pb2_grpc.EventServiceStub(channel).StreamEvents(requests(), timeout=30)
    assert next(stream).sequence == 1
    fleet.switch(STREAM_EVENTS, off=True)
    took_s = wait_until(channel, lambda found: found == "DISABLED", new_stream)
    is_off = True
    with pytest.raises(grpc.RpcError) as ended:
        list(stream)
    assert reason_of(ended.value) == "DISABLED"
    return took_s
