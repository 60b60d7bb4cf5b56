"""Events to send, what came of them, and what the sandbox counted."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.request import ProxyHandler, build_opener

import grpc
from google.rpc import error_details_pb2, status_pb2

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

Stub = events_pb2_grpc.EventServiceStub
ACCEPTED, DUPLICATE = events_pb2.EVENT_STATUS_ACCEPTED, events_pb2.EVENT_STATUS_DUPLICATE

INGESTION = {"surface": "ingestion", "path_prefix": "/v1/"}
"""Where faults are set: not on /health, by which the gateway would turn its service off for other tests."""


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


def event_requests(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    """The requests that carry events, oldest first: the gateway also asks the host for its health, at any time."""
    requests = sandbox.control("GET", "/requests?surface=ingestion")["requests"]
    return [one for one in requests if one["path"].startswith("/v1/events")]


def events_of(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The events in the body of one of these requests."""
    body = json.loads(base64.b64decode(request["body_base64"]))
    return list(body.get("events", [body]))


def scores_of(sandbox: SandboxProcess) -> dict[str, list[int]]:
    """Scores by user, in the order in which they arrived."""
    seen: dict[str, list[int]] = {}
    for request in event_requests(sandbox):
        for sent in events_of(request):
            seen.setdefault(sent["user_id"], []).append(sent["score_delta"])
    return seen


def calls_of(sandbox: SandboxProcess) -> dict[str, int]:
    """Calls by path."""
    paths = [one["path"] for one in event_requests(sandbox)]
    return {path: paths.count(path) for path in ("/v1/events", "/v1/events/bulk")}


def received(sandbox: SandboxProcess, event_id: str) -> int:
    return int(sandbox.control("GET", f"/effects?event_id={event_id}")["received"])


def metric(process: GatewayProcess, name: str) -> float:
    """One series as scraped."""
    with build_opener(ProxyHandler({})).open(f"http://{process.admin_address}/metrics", timeout=20) as page:
        lines = page.read().decode().splitlines()
    return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(name)))


def redis_misses(gateways: Sequence[GatewayProcess]) -> float:
    """How often Redis gave these gateways no answer about the platform key."""
    return sum(metric(one, 'phoenix_gateway_platform_key_events_total{event="cache_unavailable"}') for one in gateways)
