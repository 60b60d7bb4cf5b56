"""A Phoenix that fails gets at most a fifth more requests in any 10 s and surface, by its own count."""

from __future__ import annotations

import base64
import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from gateway.resilience.retry_budget import ALWAYS, SHARE, WINDOW_S
from gateway.v1 import events_pb2, events_pb2_grpc, leaderboards_pb2, leaderboards_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

LASTS_S = 14.0
CALLERS = 8
EDGE_S = 1.0
"""A request is counted when it is sent, and Phoenix counts it when it is read; and half a second is one slice."""
MARK = re.compile(rb"m-[0-9]+-[0-9]+")
FAULTS: dict[str, Mapping[str, object]] = {
    "503": {"kind": "status", "status": 503},
    "401": {"kind": "status", "status": 401},
    "500": {"kind": "status", "status": 500},
    "cut": {"kind": "cut"},
    "a-third-fails": {"kind": "status", "status": 503, "probability": 0.33},
}


def rank(channel: grpc.Channel, mark: str) -> object:
    request = leaderboards_pb2.GetUserRankRequest(leaderboard_id="xp", user_id=mark)
    return leaderboards_pb2_grpc.LeaderboardServiceStub(channel).GetUserRank(request, timeout=10)


def submit(channel: grpc.Channel, mark: str) -> object:
    event = events_pb2.Event(event_id=mark, leaderboard_id="xp", user_id=mark, score_delta=1)
    request = events_pb2.SubmitEventRequest(event=event)
    return events_pb2_grpc.EventServiceStub(channel).SubmitEvent(request, timeout=10)


@pytest.fixture
def gateway(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """One process with a budget that nothing has used."""
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "PHOENIX_BULK_EVENTS": "off"}
    with GatewayProcess(settings) as process:
        process.wait_serving("phoenix.gateway.v1.LeaderboardService")
        yield process


@pytest.mark.parametrize("call", [rank, submit])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fifth_more_at_most(
    gateway: GatewayProcess, sandbox: SandboxProcess, call: Callable[[grpc.Channel, str], object], fault: str
) -> None:
    """Each call asks for something of its own, so that Phoenix's log tells which requests are repeats."""
    surface = "query" if call is rank else "ingestion"
    sandbox.control("POST", "/faults", {"surface": surface, "path_prefix": "/v1/", **FAULTS[fault]})
    sandbox.control("DELETE", "/requests")
    until = time.monotonic() + LASTS_S

    def calls(caller: int) -> None:
        number = 0
        with grpc.insecure_channel(gateway.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            while time.monotonic() < until:
                number += 1
                with contextlib.suppress(grpc.RpcError):
                    call(channel, f"m-{caller}-{number}")
                time.sleep(0.02)

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(calls, range(CALLERS)))
    found: list[dict[str, Any]] = sandbox.control("GET", f"/requests?surface={surface}")["requests"]
    first: dict[bytes, float] = {}
    repeats: list[float] = []
    for one in found:
        mark = MARK.search(one["path"].encode() + base64.b64decode(one["body_base64"]))
        if mark is not None and first.setdefault(mark[0], one["time"]) != one["time"]:
            repeats.append(one["time"])
    most = 0.0
    for at in repeats:
        share_of = [begin for begin in first.values() if at - WINDOW_S - EDGE_S < begin <= at + EDGE_S]
        extra = sum(at - WINDOW_S + EDGE_S < other <= at for other in repeats)
        most = max(most, extra / len(share_of))
        assert extra <= max(ALWAYS, SHARE * len(share_of)) + 1
    print(f"{surface} {fault}: {len(first)} calls, {len(repeats)} repeats, at most {most:.2f} in 10 s")
    assert repeats or (call is submit and fault in ("401", "500"))
