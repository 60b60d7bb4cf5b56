"""A stopping gateway: calls in flight succeed, new ones are refused, and watchers are informed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.server.shutdown import DRAIN_S
from gateway.v1 import leaderboard_admin_pb2, leaderboard_admin_pb2_grpc, leaderboards_pb2, leaderboards_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = health_pb2.HealthCheckRequest(service="phoenix.gateway.v1.TokenService")
RANK = leaderboards_pb2.GetUserRankRequest(leaderboard_id="stopping", user_id="nobody")


@pytest.fixture
def stopping(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A separate gateway that the test stops."""
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as process:
        yield process


def test_a_watcher_hears_of_the_end_and_does_not_hold_it_up(stopping: GatewayProcess) -> None:
    """NOT_SERVING is the last message to a watcher. Then its stream and the process end at once."""
    with grpc.insecure_channel(stopping.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(SERVICE, timeout=30)
        assert next(watched).status == SERVING
        began = time.monotonic()
        os.kill(stopping.pid, signal.SIGTERM)
        assert [answer.status for answer in watched] == [NOT_SERVING]
    assert stopping.stop() == 0
    assert time.monotonic() - began < DRAIN_S / 2


def test_a_call_in_flight_is_answered_and_a_new_one_refused(stopping: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Phoenix is still at work on a call when the signal comes."""
    with grpc.insecure_channel(stopping.address) as channel:
        admin = leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel)
        admin.EnsureLeaderboard(leaderboard_admin_pb2.EnsureLeaderboardRequest(leaderboard_id="stopping"))
        sandbox.control("POST", "/faults", {"surface": "query", "kind": "delay", "delay_ms": 3000})
        sandbox.control("DELETE", "/requests")
        boards: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(SERVICE, timeout=30)
        assert next(watched).status == SERVING
        in_flight = boards.GetUserRank.future(RANK, timeout=20)
        wait_until_asked(sandbox)
        os.kill(stopping.pid, signal.SIGTERM)
        assert [answer.status for answer in watched] == [NOT_SERVING]
        with grpc.insecure_channel(stopping.address) as another:
            late: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(another)
            with pytest.raises(grpc.RpcError) as refused:
                late.GetUserRank(RANK, timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert in_flight.result().ranked is False
    assert stopping.stop() == 0


def wait_until_asked(sandbox: SandboxProcess) -> None:
    """Return once the call for the rank has reached the sandbox. Raises: AssertionError."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        asked = sandbox.control("GET", "/requests")["requests"]
        if any("/rank/" in request["path"] for request in asked):
            return
    raise AssertionError("the call did not reach the sandbox")
