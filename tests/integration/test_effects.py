"""Did Phoenix act? The caller's status says so, and a client with automatic retries never counts an event twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

INGESTION = {"surface": "ingestion", "path_prefix": "/v1/"}
DEFAULTS = {"PHOENIX_DEDUPLICATES_EVENTS": "false", "PHOENIX_BULK_EVENTS": "off"}
DEDUPLICATES = {"PHOENIX_DEDUPLICATES_EVENTS": "true", "PHOENIX_BULK_EVENTS": "off"}
RETRIES_ON_UNAVAILABLE = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.05s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
"""What clients, service meshes and proxies do by themselves."""


@contextmanager
def retrying_client(
    sandbox: SandboxProcess, settings: dict[str, str]
) -> Iterator[Callable[..., events_pb2.SubmitEventResponse]]:
    """Yield a function that submits one event over a channel that retries UNAVAILABLE."""
    options = [("grpc.service_config", RETRIES_ON_UNAVAILABLE)]
    with (
        GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), **settings}) as process,
        grpc.insecure_channel(process.address, options=options) as channel,
    ):
        stub = events_pb2_grpc.EventServiceStub(channel)

        def submit(event_id: str = "") -> events_pb2.SubmitEventResponse:
            event = events_pb2.Event(leaderboard_id="xp", user_id="ada", score_delta=1, event_id=event_id)
            return stub.SubmitEvent(events_pb2.SubmitEventRequest(event=event), timeout=10)

        yield submit


def effects(sandbox: SandboxProcess) -> int:
    """How many events Phoenix counted."""
    return int(sandbox.control("POST", "/effects", {"event_ids": []})["total"])


def refusal(submit: Callable[[], Any]) -> tuple[grpc.StatusCode, str, str, str]:
    """Return code, reason, effect and pushback of the call's failure."""
    with pytest.raises(grpc.RpcError) as caught:
        submit()
    error: Any = caught.value
    trailing = dict(error.trailing_metadata())
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(trailing["grpc-status-details-bin"]).details[0].Unpack(info)
    return error.code(), info.reason, info.metadata["effect"], trailing.get("grpc-retry-pushback-ms", "")


UNKNOWN = (grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN", "maybe", "-1")


@pytest.mark.parametrize("status", [500, 502, 504])
def test_acts_then_5xx_until_the_gateway_gives_up(sandbox: SandboxProcess, status: int) -> None:
    """A caller without an id that follows RetryInfo counts once, if Phoenix deduplicates by id."""
    with retrying_client(sandbox, DEDUPLICATES) as submit:
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": status, "act": True, "times": 3})
        assert refusal(submit) == UNKNOWN
        assert effects(sandbox) == 1


def test_an_answer_that_is_lost_twice(sandbox: SandboxProcess) -> None:
    """Default settings and a client with automatic retries: one effect, and the caller learns that it is unknown."""
    with retrying_client(sandbox, DEFAULTS) as submit:
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "lose_answer", "times": 2})
        assert refusal(submit) == UNKNOWN
        assert effects(sandbox) == 1


def test_acts_then_500_with_default_settings(sandbox: SandboxProcess) -> None:
    """Neither the client nor the gateway sends it again."""
    with retrying_client(sandbox, DEFAULTS) as submit:
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "act": True, "times": 3})
        assert refusal(submit) == UNKNOWN
        assert effects(sandbox) == 1


def test_what_certainly_did_nothing_is_unavailable_and_the_client_gets_through(sandbox: SandboxProcess) -> None:
    """503 twice: the client's own retries deliver the event, once."""
    with retrying_client(sandbox, DEFAULTS) as submit:
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": 503, "times": 2})
        assert submit().status == events_pb2.EVENT_STATUS_ACCEPTED
        assert effects(sandbox) == 1


@pytest.mark.parametrize("settings", [DEFAULTS, DEDUPLICATES])
def test_409_to_an_id_that_the_gateway_made_is_a_conflict(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """It cannot be a duplicate; for the caller's own id it is one."""
    with retrying_client(sandbox, settings) as submit:
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": 409, "times": 2})
        assert refusal(submit) == (grpc.StatusCode.ABORTED, "PHOENIX_CONFLICT", "none", "")
        assert submit("mine").status == events_pb2.EVENT_STATUS_DUPLICATE
        assert effects(sandbox) == 0


def test_409_to_a_resend_is_the_first_sending_that_arrived(sandbox: SandboxProcess) -> None:
    """Phoenix acts and loses the answer; the gateway sends again under the id that it made."""
    with retrying_client(sandbox, DEDUPLICATES) as submit:
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "lose_answer", "times": 1})
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": 409, "times": 1})
        assert submit().status == events_pb2.EVENT_STATUS_DUPLICATE
        assert effects(sandbox) == 1
