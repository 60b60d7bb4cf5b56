"""SIGKILL of the example wallet or its gateway between any two steps of an operation, while Phoenix retries.

Money moves once per key, every key ends with one recorded outcome, and Phoenix gets that outcome.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.examples.player import Player, assert_done_once
from tests.examples.wallet_process import POINTS, WalletProcess
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

MOVES = {
    "reserve_cash": ("12.50", ("67.50", "32.50")),
    "capture_cash": ("12.50", ("80.00", "7.50")),
    "release_cash": ("12.50", ("92.50", "7.50")),
    "credit_cash": ("12.50", ("92.50", "20.00")),
    "refused": ("80.01", ("80.00", "20.00")),
}
BOUNDED = [("wallet", point, "reserve_cash") for point in POINTS]
BOUNDED += [("gateway", point, "credit_cash") for point in ("verified", "recorded")]
REST = [
    (victim, point, move)
    for victim in ("wallet", "gateway")
    for point in POINTS
    for move in MOVES
    if (victim, point, move) not in BOUNDED
]


@pytest.fixture(scope="module")
def mortal(sandbox_process: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that a test may kill and start again; its leases end after a second."""
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ) | {"PREDICTION_WALLET_LEASE": "1"}
    with GatewayProcess(settings) as process:
        process.wait_serving("phoenix.gateway.v1.WalletService")
        yield process


def gateway_killed(gateway: GatewayProcess, within_s: float = 20.0) -> int | None:
    """Wait until the gateway is gone without a signal of ours; return its exit code."""
    ended = Path(f"/proc/{gateway.pid}/stat")
    until = time.monotonic() + within_s
    while ended.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, "the gateway was not killed"
        time.sleep(0.01)
    return gateway.stop()


def killed_at(sandbox: SandboxProcess, gateway: GatewayProcess, victim: str, point: str, move: str) -> None:
    """Send one move, kill in the middle of it, start again; then look at the money, the evidence and the answer."""
    wallet = WalletProcess(gateway.address)
    try:
        amount, funds = MOVES[move]
        operation = "reserve_cash" if move == "refused" else move
        key = str(uuid.uuid4())
        pid = gateway.pid if victim == "gateway" else 0
        player = Player(sandbox, wallet)
        wallet.start()
        assert 200 == player.send("reserve_cash", "20.00")["status"]
        wallet.stop()
        wallet.start("tests.examples.crashing_wallet", (point, str(pid)))
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(player.send, operation, amount, key, retries=300, pause_ms=50, timeout_s=5)
            if victim == "wallet":
                assert -9 == wallet.wait_end()
                wallet.start()
            else:
                assert -9 == gateway_killed(gateway)
                gateway.start()
            report = sending.result(timeout=50)
        assert ("rejected" if move == "refused" else "success") == report["treatment"], report
        assert funds == player.funds
        evidence = assert_done_once(gateway, wallet, operation, key)
        # What Phoenix heard is what is recorded, whether the move or a probe was answered.
        final = (report["probes"][-1:] if report["attempts"][-1]["treatment"] == "retry" else report["attempts"])[-1]
        assert evidence.response.status == final["status"]
        if point in ("moved", "committed") or (point, victim) == ("verified", "wallet"):
            assert 2 <= evidence.attempt  # reclaimed: the first attempt never recorded its outcome
    finally:
        wallet.__exit__()


@pytest.mark.parametrize(("victim", "point", "move"), BOUNDED)
def test_a_kill(sandbox: SandboxProcess, mortal: GatewayProcess, victim: str, point: str, move: str) -> None:
    """Each point of the wallet once, and the gateway's two that differ most."""
    killed_at(sandbox, mortal, victim, point, move)


@pytest.mark.faults
@pytest.mark.timeout(240)  # five rounds of starts and leases
@pytest.mark.parametrize(("victim", "point", "move"), REST)
def test_every_kill(sandbox: SandboxProcess, mortal: GatewayProcess, victim: str, point: str, move: str) -> None:
    """All other points, victims and moves, five times."""
    for _ in range(5):
        killed_at(sandbox, mortal, victim, point, move)
