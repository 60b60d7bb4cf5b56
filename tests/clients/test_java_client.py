"""The Java client against real gateways: its own units, errors, webhooks, README and package."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.clients.driver import ClientError, DrivenClient
from tests.gateway_process import GatewayProcess
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess
from tools import java_client, stubs
from tools.generate_protos import ROOT

# A new machine gets Maven's plugins and compiles first.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(600), pytest.mark.usefixtures("java")]

TENANT, BOARD = "tenant-test-001", "java"


def test_the_units() -> None:
    """Rules of ids, retries, streams, errors and webhooks, with JUnit."""
    done = subprocess.run(java_client.command("Units"), capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, "0 failed" in done.stdout) == (0, True), done.stdout[-20_000:] + done.stderr[-5000:]


def test_errors_by_reason(client: DrivenClient, gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """An exception of its own for each; faulty fields are named, and a refusal of Phoenix says how long to wait."""
    sandbox.control("POST", f"/boards/{TENANT}/{BOARD}", {})
    client.connect(gateway.address, timeoutMs=4000)
    event = {"leaderboardId": BOARD, "userId": "ada", "scoreDelta": 1, "eventId": "one"}
    with pytest.raises(ClientError) as faulty:
        client.do("call", "events", "submitEvent", {"event": {**event, "leaderboardId": ""}})
    assert (faulty.value.found["kind"], faulty.value.found["fields"]) == ("InvalidField", ["event.leaderboard_id"])
    limit = {"surface": "ingestion", "kind": "status", "status": 429, "headers": {"Retry-After": "7"}}
    sandbox.control("POST", "/faults", limit)
    with pytest.raises(ClientError) as limited:
        client.do("call", "events", "submitEvent", {"event": event})
    assert limited.value.reason == "PHOENIX_RATE_LIMITED"
    assert limited.value.found["retryAfterMs"] == pytest.approx(7000, abs=1000)
    with pytest.raises(ClientError, match="has no event_id, so a repeat of it would count twice"):
        client.do("call", "events", "submitEvent", {"event": {**event, "eventId": ""}})


@pytest.mark.parametrize("server", ["http", "servlet"])
def test_webhooks(client: DrivenClient, gateway: GatewayProcess, sandbox: SandboxProcess, server: str) -> None:
    """A move is booked and recorded, its copy with other content gets 422, a forged one 401; without a gateway, 503."""

    def send(wallet: str, **members: str) -> dict[str, Any]:
        move = {"operation": "reserve_cash", "player": "player-1", "currency": "EUR", "amount": "12.50", **members}
        found: dict[str, Any] = sandbox.control("POST", "/wallet/send", {"target": wallet, "timeout_s": 30, **move})
        return {**found["attempts"][-1], "key": found["idempotency_key"]}

    client.connect(gateway.address)
    wallet = client.do(server)
    first = send(wallet)
    assert (first["treatment"], first["status"]) == ("success", 200)
    assert send(wallet, idempotency_key=first["key"])["status"] == 200
    assert send(wallet, idempotency_key=first["key"], amount="99.00")["status"] == 422
    assert send(wallet, forge="body")["status"] == 401
    client.connect(f"127.0.0.1:{free_port()}")
    assert send(client.do(server))["status"] == 503


def test_the_readme(gateway: GatewayProcess) -> None:
    """Its blocks that call a local gateway run as they are, one after another, and end by themselves."""
    printed = []
    for number in (0, 2, 3, 4):
        command = java_client.command(f"ReadmeBlock{number}")
        command[1:1] = [f"-Dgateway={gateway.address}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.strip())
    assert printed == ["1 ada 50.0", "", "ada", "0 failed"]


def test_the_package(tmp_path: Path) -> None:
    """A jar with the code, its sources and its POM, at the project's version; nothing of the tests."""
    jar, sources, pom = java_client.write_package(tmp_path)
    assert jar.name == f"phoenix-gateway-client-{stubs.project_version()}.jar"
    assert f"<version>{stubs.project_version()}</version>" in pom.read_text()
    with zipfile.ZipFile(jar) as archive:
        names = set(archive.namelist())
        assert f"Implementation-Version: {stubs.project_version()}" in archive.read("META-INF/MANIFEST.MF").decode()
    assert {"phoenix/gateway/client/Gateway.class", "phoenix/gateway/client/service_config.json"} <= names
    assert not any("Driver" in name or "Readme" in name or "buf/validate" in name for name in names)
    with zipfile.ZipFile(sources) as archive:
        assert "phoenix/gateway/client/Reasons.java" in archive.namelist()


def test_every_reason_has_an_exception(java: Path) -> None:
    """docs/errors.md and the client name the same reasons."""
    table = (ROOT / "docs/errors.md").read_text(encoding="utf-8").splitlines()
    documented = {line.split("`")[1] for line in table if line.startswith("| `")}
    code = (java / "src/main/java/phoenix/gateway/client/Reasons.java").read_text(encoding="utf-8").splitlines()
    assert {line.split('"')[1] for line in code if "BY_REASON.put(" in line} == documented
