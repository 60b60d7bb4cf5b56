"""The clients do the same scenario against a started gateway, and print the same lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

CLIENTS = Path(__file__).resolve().parents[2] / "clients"
PROGRAMS: dict[str, Sequence[str]] = {"python": [sys.executable, str(CLIENTS / "python" / "scenario.py")]}
RESTART_AFTER = "watch: first board"


@pytest.fixture
def own(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that the test restarts."""
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as process:
        process.wait_serving("phoenix.gateway.v1.WalletService")
        yield process


@pytest.mark.timeout(180)
@pytest.mark.parametrize("language", PROGRAMS)
def test_the_scenario(own: GatewayProcess, sandbox: SandboxProcess, language: str) -> None:
    """Line by line as in clients/scenario.txt."""
    command = [*PROGRAMS[language], own.address, sandbox.urls["control"]]
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
