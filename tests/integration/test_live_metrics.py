"""The metrics of a gateway that has served calls, read by Prometheus's own programs."""

from __future__ import annotations

import shutil
import subprocess
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest

from gateway.v1 import events_pb2, events_pb2_grpc, keys_pb2, keys_pb2_grpc, leaderboards_pb2, leaderboards_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.prometheus_process import PrometheusMissing, PrometheusProcess
from tests.sandbox_process import SandboxProcess

CALLS = "phoenix_gateway_calls_total"


def get(url: str) -> str:
    with build_opener(ProxyHandler({})).open(url, timeout=10) as answer:
        return str(answer.read().decode())


def make_calls(address: str) -> None:
    """Some that work and one that does not."""
    with grpc.insecure_channel(address) as channel:
        keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=10)
        event = events_pb2.Event(leaderboard_id="xp", user_id="ada", score_delta=1)
        events_pb2_grpc.EventServiceStub(channel).SubmitEvent(events_pb2.SubmitEventRequest(event=event), timeout=10)
        boards = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            boards.GetUserRank(leaderboards_pb2.GetUserRankRequest(), timeout=10)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_promtool_finds_nothing_in_the_metrics_of_a_gateway_that_served(workers: str, sandbox: SandboxProcess) -> None:
    """Nor in those of several workers on one page."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    with GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_WORKERS": workers}) as gateway:
        make_calls(gateway.address)
        page = get(f"http://{gateway.admin_address}/metrics")
    assert CALLS in page
    checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.timeout(120)
def test_prometheus_with_its_defaults_reads_a_gateway(sandbox: SandboxProcess) -> None:
    """It has the calls of the gateway a scrape later."""
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway:
        make_calls(gateway.address)
        try:
            prometheus = PrometheusProcess([gateway.admin_address])
        except PrometheusMissing as missing:
            pytest.skip(str(missing))
        with prometheus:
            total = f'sum({CALLS}{{job="gateway"}})'
            prometheus.wait(lambda: prometheus.query(total), within_s=30)
            assert int(prometheus.query(total)[0]["value"][1]) >= 3
