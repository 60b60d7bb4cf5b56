"""A gateway whose leases end soon, and example wallets before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.examples.wallet_process import WalletProcess
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess


@pytest.fixture(scope="session")
def short_leases(sandbox_process: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway whose leases expire after one second."""
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ) | {"PREDICTION_WALLET_LEASE": "1"}
    with GatewayProcess(settings) as process:
        process.wait_serving("phoenix.gateway.v1.WalletService")
        yield process


@pytest.fixture(scope="module")
def wallet(short_leases: GatewayProcess) -> Iterator[WalletProcess]:
    """A running wallet; take a player of your own in each test."""
    with WalletProcess(short_leases.address) as process:
        yield process


@pytest.fixture
def idle_wallet(short_leases: GatewayProcess) -> Iterator[WalletProcess]:
    """A wallet that the test starts itself."""
    process = WalletProcess(short_leases.address)
    yield process
    process.__exit__()
