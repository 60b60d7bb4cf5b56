"""SIGKILL of the gateway, the example wallet and PostgreSQL at every point of a wallet operation, on both databases.

Phoenix retries. Money moves once per key, every key ends with one recorded outcome, and Phoenix gets it. With
tests/examples/test_wallet_kills.py these are more than 200 different places; `make test` takes a few of them.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.examples.player import Player, assert_done_once
from tests.examples.test_wallet_kills import MOVES, gateway_killed
from tests.examples.wallet_process import POINTS as WALLET_POINTS
from tests.examples.wallet_process import WalletProcess
from tests.faults.crashing_evidence import POINTS
from tests.gateway_command import evidence_command
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.postgres_process import PostgresProcess
from tests.sandbox_process import SandboxProcess

WALLET = "phoenix.gateway.v1.WalletService"
TAKEN_OVER = frozenset({"claim_committed", "claim_answering", "outcome_queued", "outcome_written"})
"""A gateway that is killed there leaves a claim without an outcome, which another attempt reclaims."""
Place = tuple[str, str, str, str]

PLACES: list[Place] = [
    *(("sqlite", "gateway", point, move) for point in POINTS for move in MOVES),
    *(("postgres", victim, point, move) for victim in ("gateway", "postgres") for point in POINTS for move in MOVES),
    *(("postgres", "wallet", point, move) for point in WALLET_POINTS for move in MOVES),
]
FEW: list[Place] = [
    ("postgres", "postgres", "claim_written", "reserve_cash"),
    ("postgres", "postgres", "outcome_committed", "credit_cash"),
    ("postgres", "gateway", "claim_committed", "capture_cash"),
]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A gateway with crash points on one of the databases, with its Phoenix and its wallet."""

    sandbox: SandboxProcess
    gateway: GatewayProcess
    wallet: WalletProcess
    crash: Path
    postgres: PostgresProcess | None

    def killed_at(self, victim: str, point: str, move: str) -> None:
        """Send one move, kill in the middle of it, start again; then look at the money, the evidence and the answer."""
        self.live()
        amount, funds = MOVES[move]
        operation = "reserve_cash" if move == "refused" else move
        key = str(uuid.uuid4())
        player = Player(self.sandbox, self.wallet)
        assert 200 == player.send("reserve_cash", "20.00", retries=50, pause_ms=50)["status"]
        if victim == "wallet":
            self.wallet.stop()
            self.wallet.start("tests.examples.crashing_wallet", (point, "0"))
        else:
            self.crash.write_text(f"{point} {self.postgres.pid if victim == 'postgres' and self.postgres else 0}")
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(player.send, operation, amount, key, retries=400, pause_ms=50, timeout_s=5)
            self._wait_and_start_again(victim)
            report = sending.result(timeout=60)
        assert not self.crash.exists()
        assert ("rejected" if move == "refused" else "success") == report["treatment"], report
        assert funds == player.funds
        evidence = assert_done_once(self.gateway, self.wallet, operation, key)
        assert evidence.response.status == final_status(report)
        if victim == "gateway" and point in TAKEN_OVER:
            assert 2 <= evidence.attempt

    def live(self) -> None:
        """Restart processes that a failed case left killed, so that other cases are not affected."""
        self.crash.unlink(missing_ok=True)
        if self.postgres is not None and not self.postgres.is_running:
            self.postgres.restart()
        if not self.gateway.is_running:
            self.gateway.stop()
            self.gateway.start()
        if not self.wallet.is_running:
            self.wallet.stop()
            self.wallet.start()

    def verified(self, folder: Path) -> None:
        """Export everything and prove it offline against the newest head; no order is above its reservation."""
        self.live()
        export, head = folder / "evidence.jsonl", folder / "head.json"
        until = time.monotonic() + 30
        while True:  # the newest changes are chained within a second
            with urlopen(f"http://{self.gateway.admin_address}/evidence/head", timeout=5) as page:
                head.write_bytes(page.read())
            reported = evidence_command("export", "--target", self.gateway.address, "--out", str(export))
            assert 0 == reported.returncode, reported.stderr
            reported = evidence_command("verify", str(export), "--head", str(head))
            if reported.returncode == 0:
                break
            assert time.monotonic() < until, reported.stdout + reported.stderr
            time.sleep(0.5)
        report = evidence_command("report", "--target", self.gateway.address, "--json")
        assert 0 == report.returncode, report.stdout + report.stderr
        assert [] == json.loads(report.stdout)["unfinished"]

    def _wait_and_start_again(self, victim: str) -> None:
        if victim == "wallet":
            assert -9 == self.wallet.wait_end()
            self.wallet.start()
        elif victim == "gateway":
            assert -9 == gateway_killed(self.gateway)
            self.gateway.start()
        else:
            assert self.postgres is not None
            self.postgres.wait_end()
            self.postgres.restart()


def final_status(report: dict[str, Any]) -> int:
    """What Phoenix heard last, whether the move or a probe was answered."""
    attempts = report["attempts"]
    last = report["probes"][-1:] if attempts[-1]["treatment"] == "retry" else attempts
    status: int = last[-1]["status"]
    return status


def fresh_key() -> str:
    """A key to sign heads of the chain with."""
    made = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.decode()


@pytest.fixture(scope="module")
def settings(
    sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Setting]]:
    """A setup for each database, created at its first use. In the end its evidence is proven, wherever its tests ran:
    each test worker has setups of its own."""
    with ExitStack() as stack:
        yield _Made(sandbox_process, tmp_path_factory, request, stack)


class _Made(dict[str, Setting]):
    def __init__(
        self,
        sandbox: SandboxProcess,
        folders: pytest.TempPathFactory,
        request: pytest.FixtureRequest,
        stack: ExitStack,
    ) -> None:
        super().__init__()
        self._sandbox, self._folders, self._request, self._stack = sandbox, folders, request, stack

    def __missing__(self, database: str) -> Setting:
        crash = self._folders.mktemp("crash") / "crash"
        environ = of_sandbox(self._sandbox.urls, self._sandbox.environ)
        environ |= {"PREDICTION_WALLET_LEASE": "1", "CRASH_FILE": str(crash)}
        postgres: PostgresProcess | None = None
        if database == "postgres":
            postgres = PostgresProcess()
            postgres.start()
            self._stack.callback(postgres.stop)
            environ["DATABASE_URL"] = postgres.url
            environ["GATEWAY_EVIDENCE_KEY"] = fresh_key()
        gateway = GatewayProcess(environ)
        gateway.module = "tests.faults.crashing_evidence"
        self._stack.enter_context(gateway)
        gateway.wait_serving(WALLET)
        wallet = self._stack.enter_context(WalletProcess(gateway.address))
        made = Setting(sandbox=self._sandbox, gateway=gateway, wallet=wallet, crash=crash, postgres=postgres)
        self._stack.callback(made.verified, crash.parent)
        self[database] = made
        return made


@pytest.mark.timeout(120)  # PostgreSQL recovers as fast as the disk lets it
@pytest.mark.parametrize(("database", "victim", "point", "move"), FEW)
def test_a_few_kills(
    sandbox: SandboxProcess, settings: dict[str, Setting], database: str, victim: str, point: str, move: str
) -> None:
    """PostgreSQL before and after a commit, and the gateway between commit and answer."""
    settings[database].killed_at(victim, point, move)


@pytest.mark.faults
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("database", "victim", "point", "move"), [place for place in PLACES if place not in FEW])
def test_every_kill(
    sandbox: SandboxProcess, settings: dict[str, Setting], database: str, victim: str, point: str, move: str
) -> None:
    """All other places."""
    settings[database].killed_at(victim, point, move)


@pytest.mark.timeout(120)
def test_the_evidence_of_a_few_kills(settings: dict[str, Setting], tmp_path: Path) -> None:
    """Every stored signature, every change and the end are proven by the head."""
    settings["postgres"].killed_at("gateway", "claim_committed", "reserve_cash")
    settings["postgres"].verified(tmp_path)


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_evidence_of_every_kill(settings: dict[str, Setting], tmp_path: Path, database: str) -> None:
    """After those that ran here, and one at least, on either database."""
    settings[database].killed_at("gateway", "claim_committed", "reserve_cash")
    settings[database].verified(tmp_path)


def test_there_are_more_than_two_hundred_places() -> None:
    """With those of the example wallet's own test, each of them once."""
    from tests.examples.test_wallet_kills import BOUNDED, REST

    assert 200 <= len(set(PLACES)) + len({("sqlite", *place) for place in (*BOUNDED, *REST)})
