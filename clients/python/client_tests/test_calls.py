"""Calls: ids, timeouts, and errors by reason."""

from __future__ import annotations

import json
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

import phoenix_gateway_client as client
from phoenix_gateway_client import calls, reasons, rules, v1
from tests.gateway_process import GatewayProcess
from tests.sandbox_process import SandboxProcess

TENANT, BOARD = "tenant-test-001", "calls"
ROOT = Path(__file__).resolve().parents[3]


def event(**fields: Any) -> v1.SubmitEventRequest:
    """A request with one event."""
    sent = {"leaderboard_id": BOARD, "user_id": "ada", "score_delta": 5, **fields}
    return v1.SubmitEventRequest(event=v1.Event(**sent))


@pytest.fixture
def board(sandbox: SandboxProcess) -> None:
    """A board that takes events."""
    sandbox.control("POST", f"/boards/{TENANT}/{BOARD}", {})


def test_a_repeated_request_is_the_same_event(gateway: GatewayProcess, board: None, run: Any) -> None:
    """The client gives the event its id in the request, so that a repeat of the request cannot count twice."""
    request = event()
    first = run(lambda one: one.events.submit_event(request), gateway.address)
    again = run(lambda one: one.events.submit_event(request), gateway.address)
    assert uuid.UUID(request.event.event_id).version == 7
    assert (first.event_id, again.event_id) == (request.event.event_id, request.event.event_id)
    assert (first.status, again.status) == (v1.EVENT_STATUS_ACCEPTED, v1.EVENT_STATUS_DUPLICATE)


def test_an_id_of_the_caller_is_kept(gateway: GatewayProcess, board: None, run: Any) -> None:
    """Each event of a batch without an id gets one; another id stays."""
    request = v1.SubmitEventsRequest(events=[event(event_id="mine").event, event().event, event().event])
    results = run(lambda one: one.events.submit_events(request), gateway.address).results
    assert [one.event_id for one in results] == [one.event_id for one in request.events]
    assert request.events[0].event_id == "mine"
    assert len({one.event_id for one in request.events}) == 3


def test_a_reused_id_is_its_own_exception(gateway: GatewayProcess, board: None, run: Any) -> None:
    """The reason decides the class, and the error names the request."""
    name = f"reused-{uuid.uuid4()}"
    run(lambda one: one.events.submit_event(event(event_id=name)), gateway.address)
    other = event(event_id=name, score_delta=6)
    with pytest.raises(client.EventIdReused) as refused:
        run(lambda one: one.events.submit_event(other, metadata=[("x-request-id", "req-1")]), gateway.address)
    found = refused.value
    assert (found.reason, found.code, found.effect) == ("EVENT_ID_REUSED", "ALREADY_EXISTS", "none")
    assert (found.request_id, found.retry_after) == ("req-1", None)
    assert "EVENT_ID_REUSED" in str(found)
    assert "req-1" in str(found)


def test_a_rate_limit_says_how_long_to_wait(
    gateway: GatewayProcess, board: None, sandbox: SandboxProcess, run: Any
) -> None:
    """RetryInfo is `retry_after`."""
    fault = {"surface": "ingestion", "kind": "status", "status": 429, "headers": {"Retry-After": "7"}}
    sandbox.control("POST", "/faults", fault)
    with pytest.raises(client.PhoenixRateLimited) as refused:
        run(lambda one: one.events.submit_event(event(), timeout=2.0), gateway.address)
    assert refused.value.retry_after == pytest.approx(7, abs=1)


def test_a_faulty_field_is_named(gateway: GatewayProcess, run: Any) -> None:
    """BadRequest is `fields`."""
    with pytest.raises(client.InvalidField) as refused:
        run(lambda one: one.events.submit_event(event(leaderboard_id="")), gateway.address)
    assert [path for path, _ in refused.value.fields] == ["event.leaderboard_id"]


def test_a_failed_item_of_a_batch_is_an_exception_to_look_at(gateway: GatewayProcess, board: None, run: Any) -> None:
    """`error_of` turns an item's status into the exception of its reason."""
    request = v1.SubmitEventsRequest(events=[event().event, v1.Event(leaderboard_id=BOARD, user_id="ada")])
    results = run(lambda one: one.events.submit_events(request), gateway.address).results
    assert [type(client.error_of(one.error)) for one in results] == [type(None), client.InvalidField]


def test_an_unknown_method_is_a_version_mismatch(gateway: GatewayProcess, run: Any) -> None:
    """A gateway of another major version has other services."""

    def call(one: Any) -> Any:
        method = calls.Method("/phoenix.gateway.v9.KeyService/ListKeys", v1.ListKeysRequest, v1.ListKeysResponse)
        return one._calls.unary(method, v1.ListKeysRequest(), None, ())

    with pytest.raises(client.VersionMismatch, match=r"phoenix\.gateway\.v9.*another major version.*Install"):
        run(call, gateway.address)


def test_no_answer_is_a_deadline(run: Any) -> None:
    """Whoever does not answer has no reason; Phoenix may have acted."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(client.DeadlineExceeded) as failed:
            run(lambda one: one.keys.list_keys(v1.ListKeysRequest()), target, timeout=0.3)
    assert failed.value.effect == "maybe"


def test_a_token_leaves_this_machine_only_over_tls() -> None:
    """A development token is refused for another host."""
    with pytest.raises(ValueError, match="token"):
        client.Gateway("gateway.example:50051", token="secret")
    assert "secret" not in repr(calls.Settings("127.0.0.1:1", token="secret"))


def test_the_timeouts_are_the_published_ones() -> None:
    """Streams have none."""
    service = "/phoenix.gateway.v1."
    assert rules.default_timeout(f"{service}KeyService/ListKeys") == 10.0
    assert rules.default_timeout(f"{service}WalletService/VerifyWallet") == 4.0
    assert rules.default_timeout(f"{service}LeaderboardService/WatchLeaderboard") is None


def test_the_channel_repeats_nothing_by_itself() -> None:
    """Retries and hedging are off; address choice and health checks are as published."""
    sent = json.loads(rules.service_config())
    assert "retry" not in rules.service_config()
    assert "hedging" not in rules.service_config()
    assert (sent["loadBalancingConfig"], sent["healthCheckConfig"]) == ([{"round_robin": {}}], {"serviceName": ""})
    assert dict(rules.channel_options())["grpc.enable_retries"] == 0


def test_every_documented_reason_has_an_exception() -> None:
    """docs/errors.md and the client name the same reasons."""
    table = (ROOT / "docs/errors.md").read_text(encoding="utf-8").splitlines()
    documented = {line.split("`")[1] for line in table if line.startswith("| `")}
    assert set(reasons.BY_REASON) == documented
