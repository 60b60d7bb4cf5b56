"""A part of a running gateway fails: the process soon ends with a specific exit code, and the log names the part."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.v1 import tokens_pb2, tokens_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.keys.platform.key_source import new_key
from tests.sandbox_process import SandboxProcess

NOTICED_WITHIN_S = 2.0
ENDED_WITHIN_S = 8.0
"""After a death, with a second for calls in flight and the stop of a busy machine's gateway."""
SERVING = health_pb2.HealthCheckResponse.SERVING
MINTING = health_pb2.HealthCheckRequest(service="phoenix.gateway.v1.TokenService")


def wake_audit(channel: grpc.Channel) -> None:
    """Make a call that is recorded; it may be refused."""
    request = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
    with contextlib.suppress(grpc.RpcError):
        tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(request, timeout=5)


class DyingGateway(GatewayProcess):
    """A gateway in which a part fails on demand."""

    def __init__(self, environ: Mapping[str, str], death: str) -> None:
        super().__init__({**environ, "FAILING_TASK": death})
        self.module = "tests.integration.failing_gateway"
        self._death = death

    def noticed_after(self) -> float:
        """Make the part fail. Return the seconds until the gateway reported that it does not serve."""
        with self.open_channel() as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert health.Check(MINTING, timeout=5).status == SERVING
            began = time.monotonic()
            os.kill(self.pid, signal.SIGUSR1)
            while True:
                if self._death.startswith("thread:"):
                    wake_audit(channel)  # a thread raises when it next runs Python code
                try:
                    if health.Check(MINTING, timeout=5).status != SERVING:
                        return time.monotonic() - began
                except grpc.RpcError:
                    return time.monotonic() - began
                assert time.monotonic() - began < 20, "nobody noticed"
                time.sleep(0.02)

    def exit_code(self) -> int:
        """Wait for its end. The test does not stop it."""
        assert self._process is not None
        return self._process.wait(timeout=ENDED_WITHIN_S)

    def deaths(self) -> list[tuple[str, str]]:
        """Return each failed task in the log, with its error."""
        lines = [json.loads(line) for line in self.log_text.splitlines() if line.startswith("{")]
        return [
            (line["task"], line.get("error_type", line.get("trouble", "")))
            for line in lines
            if line["event"] == "a background task ended; the gateway stops"
        ]


@pytest.mark.parametrize(
    ("death", "cause"),
    [
        ("thread:audit", "MemoryError"),
        ("cancelled:evidence-commit", "CancelledError"),
        ("cancelled:queue-commit", "CancelledError"),
        ("raised:health", "MemoryError"),
        ("raised:kill-switches", "MemoryError"),
        ("cancelled:own-parts", "CancelledError"),
        ("cancelled:key-files", "CancelledError"),
        ("cancelled:evidence-chain", "CancelledError"),
        ("returned:policy-limits", "it returned"),
    ],
)
def test_a_death_ends_the_process_with_a_code_and_a_reason(
    sandbox_process: SandboxProcess, tmp_path: Path, death: str, cause: str
) -> None:
    """`restart: on-failure` starts it again then; with exit code 0 it would stay down."""
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
    settings |= {"GATEWAY_AUDIT_FILE": str(tmp_path / "audit.jsonl"), "GATEWAY_AUDIT_REQUIRED": "true"}
    with DyingGateway(settings, death) as gateway:
        gateway.wait_serving("phoenix.gateway.v1.WalletService")
        assert gateway.noticed_after() < NOTICED_WITHIN_S
        assert gateway.exit_code() == 1
        assert gateway.deaths() == [(death.partition(":")[2], cause)]


@pytest.mark.parametrize(
    "settings", [{}, {"PREDICTION_PLATFORM_KEY": new_key().public.spki_pem.decode()}], ids=["usual", "configured key"]
)
def test_an_idle_gateway_continues(sandbox_process: SandboxProcess, settings: dict[str, str]) -> None:
    """No background task ends in any configuration."""
    with GatewayProcess({**of_sandbox(sandbox_process.urls, sandbox_process.environ), **settings}) as gateway:
        gateway.wait_serving("phoenix.gateway.v1.WalletService")
        time.sleep(1)
        assert gateway.is_running
        assert gateway.stop() == 0
        assert "ended; the gateway stops" not in gateway.log_text
