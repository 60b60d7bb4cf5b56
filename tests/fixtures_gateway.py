"""Pytest plugin: `gateway`, a running gateway before `sandbox`; one process per test session and worker."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess


@pytest.fixture(scope="session")
def gateway_process(sandbox_process: SandboxProcess) -> Iterator[GatewayProcess]:
    """The process behind `gateway`."""
    with GatewayProcess(of_sandbox(sandbox_process.urls, sandbox_process.environ)) as process:
        process.wait_serving("phoenix.gateway.v1.WalletService")
        yield process


@pytest.fixture
def gateway(gateway_process: GatewayProcess, sandbox: SandboxProcess) -> GatewayProcess:
    """A running gateway whose sandbox was just reset."""
    return gateway_process


@pytest.fixture
def channel(gateway: GatewayProcess) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with grpc.insecure_channel(gateway.address) as opened:
        yield opened
