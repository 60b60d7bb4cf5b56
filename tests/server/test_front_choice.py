"""Which front serves where an HTTP/2 engine is missing: the other engine, then grpc, each with one warning."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.gateway_process import ROOT, GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess


@pytest.mark.parametrize(
    ("missing", "warned", "has_channelz"),
    [
        pytest.param((), "", False, id="both engines"),
        pytest.param(("ngh2",), "h2 serves the calls", False, id="no libnghttp2"),
        pytest.param(("ngh2", "h2"), "grpc serves the calls", True, id="no engine"),
    ],
)
def test_the_front_falls_back_with_one_warning(
    sandbox_process: SandboxProcess, tmp_path: Path, missing: tuple[str, ...], warned: str, has_channelz: bool
) -> None:
    """Calls are served either way; channelz says which front it is."""
    for name in missing:
        (tmp_path / f"{name}.py").write_text("raise ImportError\n")
    environ = {
        **of_sandbox(sandbox_process.urls, sandbox_process.environ),
        "GATEWAY_FRONT": "http2",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }
    with GatewayProcess(environ) as gateway, gateway.open_channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert health_pb2.HealthCheckResponse.SERVING == stub.Check(health_pb2.HealthCheckRequest()).status
        lines = [json.loads(line) for line in gateway.log_text.splitlines() if line.startswith("{")]
        warnings = [one for one in lines if one.get("setting") == "GATEWAY_FRONT"]
        assert len(warnings) == (1 if missing else 0)
        assert all(warned in one["trouble"] for one in warnings)
        assert (200 if has_channelz else 404) == _status(f"http://{gateway.admin_address}/channelz/GetServers")


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code if b"GATEWAY_FRONT=grpc" in refused.read() else -1


def test_grpc_is_tuned_only_where_it_serves(sandbox_process: SandboxProcess) -> None:
    """The experiment of its event engine, and the scheduling of its threads, are none of the HTTP/2 front's."""
    environ = of_sandbox(sandbox_process.urls, sandbox_process.environ)
    for front, batched in (("http2", 0), ("grpc", 1)):
        with GatewayProcess({**environ, "GATEWAY_FRONT": front}) as gateway, grpc.insecure_channel(gateway.address):
            policies = [
                (task / "stat").read_text().rpartition(")")[2].split()[38]
                for task in Path(f"/proc/{gateway.pid}/task").iterdir()
            ]
            assert batched <= policies.count("3"), (front, policies)  # SCHED_BATCH
            assert batched or "3" not in policies, (front, policies)
