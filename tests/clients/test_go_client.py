"""Runs the tests of the Go client, against real gateways, and checks its form and its generated code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.secured_gateway import Secured
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess
from tools import go_client, go_tools
from tools.go_module import CLIENT, ROOT

KILLS = "Kill"
"""What the Go tests have in their names that need a gateway to be killed."""
SECURED = "TestConnections|TestFilesThatCannotBeUsed|TestRenewedFiles|TestAHalfWritten"
"""The Go tests that need a gateway with mutual TLS."""
TENANT, BOARD = "tenant-test-001", "go-client"

pytestmark = pytest.mark.timeout(600)  # Go compiles grpc-go once a machine


@pytest.fixture(scope="module")
def go() -> str:
    """Go, with the modules of the client on this machine."""
    try:
        go_tools.run_go(["mod", "download"], CLIENT)
    except go_tools.NotBuilt as failed:
        pytest.skip(f"{failed}: install Go 1.24 or later, and let it reach a module proxy")
    return str(shutil.which("go"))


def _run(go: str, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
    """Run Go in the client's folder, without a network. Returns its output."""
    done = subprocess.run(
        [go, *arguments],
        cwd=CLIENT,
        env={**os.environ, "GOPROXY": "off", "CGO_ENABLED": "0", **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=420,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5000:]
    return done.stdout


@pytest.mark.faults
def test_the_client(go: str) -> None:
    """The tests that need one gateway without TLS, or none; none of them is skipped."""
    command = Path(sys.executable).with_name("phoenix-gateway")
    left = f"{KILLS}|{SECURED}"
    printed = _run(go, "test", "-v", "-skip", left, "./...", environ={"PHOENIX_GATEWAY_COMMAND": str(command)})
    assert "--- PASS: TestWithAGateway" in printed
    assert "--- SKIP" not in printed


@pytest.mark.faults
def test_connections_with_tls(go: str, gateway: GatewayProcess, secured: Secured) -> None:
    """Each wrong file is named, and renewed files are used: against a gateway with mutual TLS, and one without."""
    environ = {
        "PHOENIX_GATEWAY_PLAIN": gateway.address,
        "PHOENIX_GATEWAY_SECURED": secured.address,
        "PHOENIX_GATEWAY_SECURED_FILES": str(secured.folder),
    }
    printed = _run(go, "test", "-v", "-run", SECURED, ".", environ=environ)
    assert printed.count("\n--- PASS") == len(SECURED.split("|"))
    assert "--- SKIP" not in printed


@pytest.mark.faults
def test_the_client_over_killed_gateways(go: str, sandbox: SandboxProcess) -> None:
    """The gateway is killed and started again each time that a Go test asks for it."""
    sandbox.control("POST", f"/boards/{TENANT}/{BOARD}", {})
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as own:
        environ = {"PHOENIX_GATEWAY_KILLED": own.address, "PHOENIX_GATEWAY_KILLED_CONTROL": sandbox.urls["control"]}
        with subprocess.Popen(
            [go, "test", "-v", "-run", KILLS, "."],
            cwd=CLIENT, env={**os.environ, "GOPROXY": "off", "CGO_ENABLED": "0", **environ},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            printed: list[str] = []
            for line in process.stdout:
                printed.append(line)
                if line.strip() == "kill me":
                    own.stop(signal.SIGKILL)
                    own.start()
    assert (process.returncode, printed.count("kill me\n")) == (0, 4), "".join(printed)


@pytest.mark.faults
def test_the_form_of_the_code(go: str) -> None:
    """As gofmt writes it, and without a finding of vet."""
    formatter = Path(go).with_name("gofmt")
    printed = subprocess.run([formatter, "-l", "."], cwd=CLIENT, capture_output=True, text=True, check=True).stdout
    assert printed == ""
    _run(go, "vet", "./...")
    _run(go, "mod", "verify")


@pytest.mark.faults
def test_the_generated_code_is_current(tmp_path: Path) -> None:
    """As `make protos` writes it."""
    if not go_client.generate(tmp_path):
        pytest.skip("the plugins of protoc are not built: install Go 1.24 or later, and let it reach a module proxy")
    assert go_client.differences(tmp_path, with_messages=True) == []


def test_every_reason_has_an_error() -> None:
    """docs/errors.md and the client name the same reasons."""
    table = (ROOT / "docs/errors.md").read_text(encoding="utf-8").splitlines()
    documented = {line.split("`")[1] for line in table if line.startswith("| `")}
    code = (CLIENT / "reasons.go").read_text(encoding="utf-8").splitlines()
    assert {line.split('"')[1] for line in code if " Reason = " in line} == documented
