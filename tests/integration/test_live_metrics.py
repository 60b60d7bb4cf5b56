"""The metrics of a gateway that has served calls, read by Prometheus's own programs."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest

from gateway.v1 import events_pb2, events_pb2_grpc, keys_pb2, keys_pb2_grpc, leaderboards_pb2, leaderboards_pb2_grpc
from tests.gateway_process import GatewayProcess, free_port, of_sandbox
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
def test_prometheus_with_its_defaults_reads_a_gateway(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """It has the calls of the gateway a scrape later."""
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("needs prometheus: apt-get install prometheus")
    web, config = free_port(), tmp_path / "prometheus.yml"
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway:
        make_calls(gateway.address)
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            f"scrape_configs: [{{job_name: gateway, static_configs: [{{targets: ['{gateway.admin_address}']}}]}}]\n"
        )
        scraper = subprocess.Popen(
            [
                prometheus,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{web}",
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 90
            while not (found := counted(web, f'sum({CALLS}{{job="gateway"}})')):
                assert time.monotonic() < until
                time.sleep(0.3)
        finally:
            scraper.terminate()
            scraper.wait()
    assert int(found[0]) >= 3


def counted(web: int, query: str) -> list[str]:
    """Return the values of a query; none while Prometheus does not answer."""
    try:
        answer = json.loads(get(f"http://127.0.0.1:{web}/api/v1/query?query={quote(query)}"))
    except OSError:
        return []
    return [each["value"][1] for each in answer["data"]["result"]]
