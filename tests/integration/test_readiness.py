"""A replica that cannot work is not ready, says why everywhere, and is ready again by itself.

Faults are those of a machine: the limits of the process are changed while it runs, and libfaketime sets its clock.
"""

from __future__ import annotations

import ctypes.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.v1 import events_pb2, events_pb2_grpc, leaderboards_pb2, leaderboards_pb2_grpc, wallet_pb2_grpc
from tests.gateway_process import ROOT, GatewayProcess, of_sandbox, reason_of
from tests.integration.test_wallet import reserve
from tests.sandbox_process import SandboxProcess

FAKETIME = next(
    (str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), ctypes.util.find_library("faketime")
)
WITHIN_S = 30.0
"""The promise is 5 s, for the begin and the end of a fault. A slow machine may take longer."""
pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")]


@contextmanager
def limited(pid: int, which: int, soft: int) -> Iterator[None]:
    """Lower one limit of a running process for a while."""
    before = resource.prlimit(pid, which)
    resource.prlimit(pid, which, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, which, before)


def nearly_all(pid: int) -> int:
    """A limit that leaves the process four descriptors."""
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return [number for number in range(len(used) + 5) if number not in used][4]


def is_connected(pid: int, url: str) -> bool:
    """Whether the process holds an open connection to this port of loopback."""
    sockets = {os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    to_port = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{urlsplit(url).port:04X}") and row[3] == "01"}
    return bool(sockets & to_port)


def lines(gateway: GatewayProcess, event: str) -> list[Mapping[str, Any]]:
    """The log lines of this event."""
    found = [json.loads(line) for line in gateway.log_text.splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in found if line["event"] == event]


def metric(gateway: GatewayProcess, cause: str) -> float:
    """1 if the replica says that it is not ready for this cause."""
    with urlopen(f"http://{gateway.admin_address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    name = f'phoenix_gateway_not_ready{{cause="{cause}"}} '
    return float(next(line for line in text.splitlines() if line.startswith(name)).removeprefix(name))


def served(gateway: GatewayProcess, service: str = "") -> bool:
    """What gRPC health says."""
    with gateway.open_channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def doctor(gateway: GatewayProcess) -> str:
    """What the doctor says of the gateway that runs."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [sys.executable, "-m", "gateway", "doctor", "--json"]
    environ = {**kept, "PYTHONPATH": str(ROOT), **gateway.environ}
    ended = subprocess.run(command, capture_output=True, env=environ, cwd=ROOT, timeout=90, check=False)
    findings = json.loads(ended.stdout)["findings"]
    return str(next(one["what"] for one in findings if one["name"] == "running"))


def not_ready_for(gateway: GatewayProcess, part: str) -> dict[str, Any]:
    """Wait until the replica says that it is not ready for this cause, and return what it says."""
    until = time.monotonic() + WITHIN_S
    while part not in (report := gateway.readiness()).get("not_ready", []):
        assert time.monotonic() < until, report
        time.sleep(0.05)
    return report


def assert_not_ready(gateway: GatewayProcess, part: str, kind: str, service: str) -> None:
    """Every place says the same: /readyz, gRPC health, the metric, the log and the doctor."""
    report = not_ready_for(gateway, part)
    reason = report["reasons"][f"phoenix.gateway.v1.{service}"]
    assert (reason["part"], reason["kind"]) == (part, kind)
    assert (served(gateway), served(gateway, f"phoenix.gateway.v1.{service}")) == (False, False)
    assert metric(gateway, part) == 1
    reported = [line for line in lines(gateway, "a part of this replica does not work") if line["part"] == part]
    assert [(line["part"], line["kind"]) for line in reported] == [(part, kind)]
    assert reported[0]["advice"] == reason["advice"]
    assert reason["trouble"].rpartition(" s ")[2] in doctor(gateway)  # the seconds that a clock is off may differ by 1


def assert_back(gateway: GatewayProcess, part: str) -> None:
    """Ready again, and the replica itself says after how long."""
    gateway.wait_ready(within_s=WITHIN_S)
    assert served(gateway)
    assert metric(gateway, part) == 0
    again = [line for line in lines(gateway, "a part of this replica works again") if line["part"] == part]
    assert len(again) == 1


def test_no_file_descriptors(gateway_of_its_own: GatewayProcess) -> None:
    """The limit is named as the gateway's own: not as a Phoenix that cannot be reached, and no circuit opens."""
    gateway = gateway_of_its_own
    with limited(gateway.pid, resource.RLIMIT_NOFILE, nearly_all(gateway.pid)):
        assert_not_ready(gateway, "descriptors", "EMFILE", "EventService")
    assert_back(gateway, "descriptors")


def test_a_call_without_descriptors_is_our_own_fault(gateway_of_its_own: GatewayProcess) -> None:
    """OVERLOADED for each of many calls, and at once OK afterwards: Phoenix's circuit has stayed closed."""
    gateway = gateway_of_its_own
    event = events_pb2.Event(leaderboard_id="b", user_id="u", score_delta=1)
    with gateway.open_channel() as channel:
        events: Any = events_pb2_grpc.EventServiceStub(channel)
        boards: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            boards.GetLeaderboard(leaderboards_pb2.GetLeaderboardRequest(leaderboard_id="none"), timeout=10)
        until = time.monotonic() + WITHIN_S
        while is_connected(gateway.pid, gateway.environ["INGESTION_BASE_URL"]):  # left by the start
            assert time.monotonic() < until, "the start's connection to the ingestion stays open"
            time.sleep(0.05)
        reasons = []
        with limited(gateway.pid, resource.RLIMIT_NOFILE, 3):
            for _ in range(8):
                with pytest.raises(grpc.RpcError) as refused:
                    events.SubmitEvent(events_pb2.SubmitEventRequest(event=event), timeout=10)
                reasons.append(reason_of(refused.value))
        assert set(reasons) == {"OVERLOADED"}
        assert events.SubmitEvent(events_pb2.SubmitEventRequest(event=event), timeout=10).event_id


def test_a_full_disk(gateway_of_its_own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """No file may grow, which is what a quota does: webhooks get 503, never another refusal."""
    gateway = gateway_of_its_own
    with gateway.open_channel() as channel:
        wallet: Any = wallet_pb2_grpc.WalletServiceStub(channel)
        assert wallet.VerifyWallet(reserve(sandbox), timeout=10).attempt == 1
        with limited(gateway.pid, resource.RLIMIT_FSIZE, 1):
            assert wallet.VerifyWallet(reserve(sandbox), timeout=10).reply.status == 503
            report = not_ready_for(gateway, "database")
            assert report["reasons"]["phoenix.gateway.v1.WalletService"]["kind"] == "disk_full"
            assert not served(gateway)
            assert served(gateway, "phoenix.gateway.v1.TokenService")
        gateway.wait_ready(within_s=WITHIN_S)
        assert wallet.VerifyWallet(reserve(sandbox), timeout=10).attempt == 1


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
@pytest.mark.parametrize(("offset_s", "kind"), [(90, "ahead"), pytest.param(-90, "behind", marks=pytest.mark.faults)])
def test_a_wrong_clock(sandbox: SandboxProcess, tmp_path: Path, offset_s: int, kind: str) -> None:
    """Phoenix's Date shows it. Tokens and signatures would be refused."""
    rc = tmp_path / "faketime"
    rc.write_text("+0s\n")
    faked = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(rc),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), **faked}) as gateway:
        gateway.wait_serving("phoenix.gateway.v1.WalletService", within_s=WITHIN_S)
        rc.write_text(f"{offset_s:+d}s\n")
        assert_not_ready(gateway, "clock", kind, "TokenService")
        assert served(gateway, "phoenix.gateway.v1.WalletService")
        rc.write_text("+0s\n")
        assert_back(gateway, "clock")


def test_a_required_audit_log_that_cannot_be_written(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """From the start, without a call; nothing is done that cannot be recorded."""
    pipe = tmp_path / "audit.pipe"
    os.mkfifo(pipe)
    settings = {"GATEWAY_AUDIT_FILE": str(pipe), "GATEWAY_AUDIT_REQUIRED": "true"}
    process = GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), **settings})
    process.starts_ready = False
    with process as gateway:
        report = not_ready_for(gateway, "audit")
        assert not any(report["services"].values())
        assert {(one["part"], one["kind"]) for one in report["reasons"].values()} == {("audit", "ENXIO")}
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            gateway.wait_ready(within_s=WITHIN_S)
        finally:
            os.close(reader)


def test_an_audit_log_that_is_not_required_only_degrades(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Calls go on without it, and the replica says so."""
    pipe = tmp_path / "audit.pipe"
    os.mkfifo(pipe)
    settings = {"GATEWAY_AUDIT_FILE": str(pipe)}
    with GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), **settings}) as gateway:
        until = time.monotonic() + WITHIN_S
        while (report := gateway.readiness()).get("degraded") != {"audit": "ENXIO"}:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert report["ready"]


def test_a_phoenix_that_is_down_leaves_the_replica_ready(sandbox: SandboxProcess) -> None:
    """Another replica has the same Phoenix. The services that need it say so, with the reason."""
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "INGESTION_BASE_URL": "http://127.0.0.1:9"}
    with GatewayProcess(settings) as gateway:
        report = gateway.wait_ready()
        assert served(gateway)
        until = time.monotonic() + WITHIN_S
        while "phoenix.gateway.v1.EventService" not in (reasons := gateway.readiness().get("reasons", {})):
            assert time.monotonic() < until
            time.sleep(0.05)
        reason = reasons["phoenix.gateway.v1.EventService"]
        assert (reason["kind"], reason["address"]) == ("PHOENIX_UNAVAILABLE", "http://127.0.0.1:9")
        assert report["services"]["phoenix.gateway.v1.TokenService"]


def test_a_group_of_workers_is_ready_only_as_a_whole(sandbox: SandboxProcess) -> None:
    """One worker at its limit: the page of all says which, and why."""
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_WORKERS": "2", "GATEWAY_FRONT": "http2"}
    with GatewayProcess(settings) as group:
        until = time.monotonic() + WITHIN_S
        while (ready := group.readiness()).get("workers") != {"0": True, "1": True}:
            assert time.monotonic() < until, ready
            time.sleep(0.05)
        children = Path(f"/proc/{group.pid}/task/{group.pid}/children").read_text().split()
        worker = int(children[0])
        with limited(worker, resource.RLIMIT_NOFILE, nearly_all(worker)):
            report = not_ready_for(group, "descriptors")
            assert sorted(report["workers"].values()) == [False, True]
            assert {one["kind"] for one in report["reasons"].values()} == {"EMFILE"}
        group.wait_ready(within_s=WITHIN_S)


@pytest.fixture
def gateway_of_its_own(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """One whose limits may be changed."""
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as process:
        process.wait_serving("phoenix.gateway.v1.WalletService", within_s=WITHIN_S)
        yield process
