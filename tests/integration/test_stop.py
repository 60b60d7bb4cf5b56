"""A stopping gateway: calls in flight succeed, new ones are refused, and watchers are informed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.config import DrainTimes
from gateway.v1 import (
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
)
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.integration.awaited_calls import eventually
from tests.integration.event_calls import metric
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


def assert_ends_with_not_serving(watched: Any) -> None:
    """A last message, and then the reason with a time to come back."""
    assert NOT_SERVING == next(watched).status
    with pytest.raises(grpc.RpcError) as ended:
        next(watched)
    assert (grpc.StatusCode.UNAVAILABLE, "STOPPING") == (ended.value.code(), reason_of(ended.value))
    assert any(pair.key == "grpc-retry-pushback-ms" for pair in ended.value.trailing_metadata() or ())


def test_a_watcher_hears_of_the_end_and_does_not_hold_it_up(stopping: GatewayProcess) -> None:
    """NOT_SERVING is the last message to a watcher. Then its stream, with STOPPING, and the process end at once."""
    with grpc.insecure_channel(stopping.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(SERVICE, timeout=30)
        assert next(watched).status == SERVING
        began = time.monotonic()
        os.kill(stopping.pid, signal.SIGTERM)
        assert_ends_with_not_serving(watched)
    assert stopping.stop() == 0
    assert time.monotonic() - began < DrainTimes().timeout_s / 4


def test_a_call_in_flight_is_answered_and_a_new_one_refused(stopping: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Phoenix is still at work on a call when the signal comes."""
    with grpc.insecure_channel(stopping.address) as channel:
        admin = leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel)
        admin.EnsureLeaderboard(leaderboard_admin_pb2.EnsureLeaderboardRequest(leaderboard_id="stopping"))
        sandbox.control("POST", "/faults", {"surface": "query", "kind": "delay", "delay_ms": 3000})
        boards: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(SERVICE, timeout=30)
        assert next(watched).status == SERVING
        in_flight = boards.GetUserRank.future(RANK, timeout=20)
        wait_until_at_work(stopping)
        os.kill(stopping.pid, signal.SIGTERM)
        assert_ends_with_not_serving(watched)
        with grpc.insecure_channel(stopping.address) as another:
            late: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(another)
            with pytest.raises(grpc.RpcError) as refused:
                late.GetUserRank(RANK, timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert in_flight.result().ranked is False
    assert stopping.stop() == 0


def wait_until_at_work(gateway: GatewayProcess) -> None:
    """Return once the call for the rank has reached the gateway. Raises: AssertionError."""
    series = 'phoenix_gateway_calls_in_flight{method="/phoenix.gateway.v1.LeaderboardService/GetUserRank"}'
    assert eventually(lambda: metric(gateway, series) == 1, within_s=10), "the call did not reach the gateway"


def readiness(gateway: GatewayProcess) -> int:
    """The HTTP status of /readyz; 0 when nothing listens any more."""
    try:
        with urlopen(f"http://{gateway.admin_address}/readyz", timeout=5) as answer:
            return int(answer.status)
    except HTTPError as refused:
        return refused.code
    except OSError:
        return 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: signal.Signals(number).name)
def test_a_gateway_that_is_not_ready_still_accepts(sandbox: SandboxProcess, number: int) -> None:
    """Balancers notice first: during the delay new connections are served, and then the process ends with 0."""
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_DRAIN_DELAY": "6"}
    with GatewayProcess(settings) as gateway:
        signalled_at = time.monotonic()
        os.kill(gateway.pid, number)
        while readiness(gateway) == 200:
            assert time.monotonic() - signalled_at < 1
        minted = 0
        while time.monotonic() - signalled_at < 1.2:
            assert readiness(gateway) == 503
            with gateway.open_channel() as channel:
                request = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
                assert tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(request, timeout=5).token
            minted += 1
        assert minted
        assert gateway.wait_end() == 0
        assert 6 <= time.monotonic() - signalled_at < 14.5


def test_clients_that_check_health_watch_once_while_a_gateway_drains(sandbox: SandboxProcess) -> None:
    """They keep their stream, which says NOT_SERVING, for as long as calls are accepted: they would return at once."""
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_DRAIN_DELAY": "1.5", "GATEWAY_LOG_LEVEL": "debug"}
    config = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})
    with GatewayProcess(settings) as gateway:
        with grpc.insecure_channel(f"ipv4:{gateway.address}", options=[("grpc.service_config", config)]) as channel:
            tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(
                tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession()), timeout=5
            )
            assert 0 == gateway.stop()
        lines = [json.loads(line) for line in gateway.log_text.splitlines() if line.startswith("{")]
        ended = [line for line in lines if line["event"] == "call" and line["method"].endswith("Health/Watch")]
        # Or the client leaves by itself, at the GOAWAY before that.
    assert [line["status"] for line in ended] in (["UNAVAILABLE"], ["CANCELLED"])


def test_a_second_signal_omits_the_delay(sandbox: SandboxProcess) -> None:
    """Whoever is in a hurry says so twice; Ctrl-C needs it once."""
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_DRAIN_DELAY": "30", "GATEWAY_DRAIN_TIMEOUT": "40"}
    for signals in ([signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]):
        with GatewayProcess(settings) as gateway:
            began = time.monotonic()
            for number in signals:
                os.kill(gateway.pid, number)
                time.sleep(0.3)
            assert gateway.wait_end() == 0
            assert time.monotonic() - began < 10
