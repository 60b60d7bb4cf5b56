"""The line of a call that failed on the way to Phoenix says where and why, on every surface."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from gateway.v1 import leaderboards_pb2, leaderboards_pb2_grpc, operator_pb2, operator_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess


def last_line(gateway: GatewayProcess, method: str) -> dict[str, Any]:
    """The log line of the last call of a method."""
    lines = [json.loads(line) for line in gateway.log_text.splitlines() if line.startswith("{")]
    return dict([line for line in lines if line.get("event") == "call" and line["method"].endswith(method)][-1])


def changes(gateway: GatewayProcess, part: str) -> list[dict[str, Any]]:
    """The lines that say that a part of Phoenix cannot be used, or can be again."""
    lines = [json.loads(line) for line in gateway.log_text.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("part") == part]


def test_the_operator_api_leaves_one_line_for_many_failures(sandbox: SandboxProcess) -> None:
    """With the error's class, the host, the status and what to do."""
    sandbox.control("POST", "/faults", {"surface": "prediction", "kind": "status", "status": 503, "times": 30})
    with (
        GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway,
        grpc.insecure_channel(gateway.address) as channel,
    ):
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        for _ in range(3):
            with pytest.raises(grpc.RpcError):
                stub.ListCategories(operator_pb2.ListCategoriesRequest(), timeout=5)
        sandbox.control("DELETE", "/faults")
        gateway.stop()
        (line,) = changes(gateway, "Phoenix prediction")
    assert (line["level"], line["error_type"], line["code"]) == ("error", "PhoenixUnavailable", "503")
    assert (line["address"], "doctor" in line["advice"]) == (sandbox.urls["prediction"], True)


def test_live_boards_leave_one_line_for_a_host_that_does_not_answer(sandbox: SandboxProcess) -> None:
    """Each watcher fails, and the connection is tried again and again: one line."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "WEBSOCKET_URL": nowhere.replace("http", "ws")}
    with GatewayProcess(settings) as gateway, grpc.insecure_channel(gateway.address) as channel:
        stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                next(stub.WatchLeaderboard(leaderboards_pb2.WatchLeaderboardRequest(leaderboard_id="xp"), timeout=3))
        gateway.stop()
        (line,) = changes(gateway, "Phoenix live boards")
    assert (line["error_type"], line["address"]) == ("PhoenixUnavailable", nowhere.replace("http", "ws"))
    assert "ClientConnectorError" in line["error_causes"]
    assert line["advice"]


def test_a_server_error_names_host_and_status(sandbox: SandboxProcess) -> None:
    """Of the Operator API, which has no circuit breaker that would log it."""
    sandbox.control("POST", "/faults", {"surface": "prediction", "kind": "status", "status": 503, "times": 10})
    with (
        GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway,
        grpc.insecure_channel(gateway.address) as channel,
    ):
        with pytest.raises(grpc.RpcError):
            operator_pb2_grpc.OperatorServiceStub(channel).ListCategories(
                operator_pb2.ListCategoriesRequest(), timeout=5
            )
        gateway.stop()
        line = last_line(gateway, "/ListCategories")
    assert (line["reason"], line["code"], line["address"]) == ("PHOENIX_UNAVAILABLE", "503", sandbox.urls["prediction"])
    assert line["error_type"] == "PhoenixUnavailable"


def test_a_refused_connection_names_host_and_class(sandbox: SandboxProcess) -> None:
    """Nothing listens there."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "QUERY_BASE_URL": nowhere}
    with GatewayProcess(settings) as gateway, grpc.insecure_channel(gateway.address) as channel:
        with pytest.raises(grpc.RpcError):
            leaderboards_pb2_grpc.LeaderboardServiceStub(channel).GetUserRank(
                leaderboards_pb2.GetUserRankRequest(leaderboard_id="xp", user_id="ada"), timeout=5
            )
        gateway.stop()
        line = last_line(gateway, "/GetUserRank")
    assert (line["reason"], line["address"]) == ("PHOENIX_UNAVAILABLE", nowhere)
    assert "NotSent" in line["error_causes"]
