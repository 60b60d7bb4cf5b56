"""The clients do the same scenario against a started gateway, and print the same lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess
from tools import go_tools, java_client, typescript_client

CLIENTS = Path(__file__).resolve().parents[2] / "clients"
RESTART_AFTER = "watch: first board"


def _python() -> Sequence[str]:
    return [sys.executable, str(CLIENTS / "python" / "scenario.py")]


def _go() -> Sequence[str]:
    try:
        return [str(go_tools.built(CLIENTS / "go", "./scenario"))]
    except go_tools.NotBuilt as failed:
        pytest.skip(f"{failed}: install Go 1.24 or later, and let it reach a module proxy")


def _typescript() -> Sequence[str]:
    try:
        return ["node", str(typescript_client.built() / "build" / "scenario.js")]
    except go_tools.NotBuilt as failed:
        pytest.skip(f"{failed}: install Node 20 or later with npm, and let it reach a registry")


def _java() -> Sequence[str]:
    try:
        return java_client.command("Scenario")
    except go_tools.NotBuilt as failed:
        pytest.skip(f"{failed}: install a JDK 17 or later with Maven, and let it reach a repository")


PROGRAMS: dict[str, Callable[[], Sequence[str]]] = {
    "python": _python,
    "go": _go,
    "typescript": _typescript,
    "java": _java,
}


@pytest.fixture(
    params=[name if name == "python" else pytest.param(name, marks=pytest.mark.faults) for name in PROGRAMS], ids=str
)
def program(request: pytest.FixtureRequest) -> Sequence[str]:
    """The command of a language, built if it has to be."""
    return PROGRAMS[request.param]()


@pytest.fixture
def own(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that the test restarts."""
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as process:
        process.wait_serving("phoenix.gateway.v1.WalletService")
        yield process


@pytest.mark.timeout(600)  # Go compiles grpc-go once a machine, and Maven gets its plugins
def test_the_scenario(program: Sequence[str], own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Line by line as in clients/scenario.txt."""
    command = [*program, own.address, sandbox.urls["control"]]
    printed: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            printed.append(line)
            if line.strip() == RESTART_AFTER:
                own.stop()
                own.start()
        reported = process.stderr.read()
    assert "".join(printed) == (CLIENTS / "scenario.txt").read_text(encoding="utf-8"), reported
