"""Answers that come late or never, calls that come at once, and TLS: the example wallet on a bad day."""

from __future__ import annotations

import base64
import hashlib
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from examples.wallet.rules import Move, Undecided
from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.examples.player import Player, assert_done_once, entries
from tests.examples.wallet_process import WalletProcess
from tests.gateway_process import GatewayProcess
from tests.sandbox_process import SandboxProcess

CRASHING = "tests.examples.crashing_wallet"


def test_a_probe_after_a_lost_answer(
    sandbox: SandboxProcess, idle_wallet: WalletProcess, short_leases: GatewayProcess
) -> None:
    """The operation was recorded after Phoenix's timeout. The probe alone gives Phoenix the result."""
    player, key = Player(sandbox, idle_wallet), str(uuid.uuid4())
    idle_wallet.start(CRASHING, ("recorded", "stall:30"))
    report = player.send("credit_cash", "12.50", key, timeout_s=4)  # enough to record, also on a busy machine
    assert ([None], [200], "success") == (
        [attempt["status"] for attempt in report["attempts"]],
        [probe["status"] for probe in report["probes"]],
        report["treatment"],
    )
    evidence = assert_done_once(short_leases, idle_wallet, "credit_cash", key)
    assert (evidence.response.body, "112.50") == (
        base64.b64decode(report["probes"][0]["body_base64"]),
        player.funds[0],
    )
    idle_wallet.stop(signal.SIGKILL)  # it would wait for the call that stalls


def test_a_slow_attempt_that_is_overtaken(
    sandbox: SandboxProcess, idle_wallet: WalletProcess, short_leases: GatewayProcess
) -> None:
    """It sleeps past its lease between ledger and record: the next attempt finds its entry, and both say the same."""
    player, key = Player(sandbox, idle_wallet), str(uuid.uuid4())
    idle_wallet.start(CRASHING, ("committed", "stall:3"))
    report = player.send("reserve_cash", "12.50", key, timeout_s=0.8, retries=60)
    assert ("success", ("87.50", "12.50")) == (report["treatment"], player.funds)
    assert 0 == idle_wallet.stop()  # after the slow call has ended, too
    assert 2 <= assert_done_once(short_leases, idle_wallet, "reserve_cash", key).attempt


def test_many_identical_calls_at_once(sandbox: SandboxProcess, gateway: GatewayProcess) -> None:
    """Twenty at once, each tried until it is answered: one move, one answer. No attempt outlives its lease."""
    with WalletProcess(gateway.address) as wallet:
        player, key = Player(sandbox, wallet), str(uuid.uuid4())
        with ThreadPoolExecutor(20) as pool:
            calls = [pool.submit(player.send, "reserve_cash", "12.50", key, retries=100) for _ in range(20)]
            answers = {call.result()["body_base64"] for call in calls}
        assert (1, ("87.50", "12.50")) == (len(answers), player.funds)
        assert_done_once(gateway, wallet, "reserve_cash", key)


def test_a_replay_of_which_only_the_hash_was_recorded(
    sandbox: SandboxProcess, wallet: WalletProcess, short_leases: GatewayProcess
) -> None:
    """The ledger's own bytes are sent again, for they have that hash."""
    player, key = Player(sandbox, wallet), str(uuid.uuid4())
    wish = {"operation": "credit_cash", "amount": "1.00", "player": player.name, "idempotency_key": key}
    webhook = sandbox.control("POST", "/wallet/sign", wish)
    entry = wallet.ledger.move(
        Move(
            operation="credit_cash",
            idempotency_key=key,
            player=player.name,
            currency="EUR",
            amount=Decimal("1.00"),
            order_id="",
        )
    )
    with grpc.insecure_channel(short_leases.address) as channel:
        stub = wallet_pb2_grpc.WalletServiceStub(channel)
        claimed = stub.VerifyWallet(
            wallet_pb2.VerifyWalletRequest(
                method="POST",
                path=webhook["path"],
                headers=[wallet_pb2.HttpHeader(name=name, value=value) for name, value in webhook["headers"]],
                raw_body=base64.b64decode(webhook["body_base64"]),
            )
        )
        stub.RecordWalletOutcome(
            wallet_pb2.RecordWalletOutcomeRequest(
                operation_id=claimed.operation_id,
                attempt=claimed.attempt,
                response_status=entry.status,
                response_body_sha256=hashlib.sha256(entry.body).hexdigest(),
            )
        )
    report = player.send("credit_cash", "1.00", key)
    assert (200, entry.body, "101.00") == (
        report["status"],
        base64.b64decode(report["body_base64"]),
        player.funds[0],
    )


def test_a_key_of_the_ledger_with_other_content(sandbox: SandboxProcess, wallet: WalletProcess) -> None:
    """What the gateway would have to have refused is a doubt; nothing moves."""
    player, key = Player(sandbox, wallet), str(uuid.uuid4())
    player.send("reserve_cash", "12.50", key)
    other = Move(
        operation="reserve_cash",
        idempotency_key=key,
        player=player.name,
        currency="EUR",
        amount=Decimal("12.51"),
        order_id=player.order,
    )
    with pytest.raises(Undecided):
        wallet.ledger.move(other)
    assert (("87.50", "12.50"), 1) == (player.funds, len(entries(wallet, key)))


def test_over_https(sandbox: SandboxProcess, idle_wallet: WalletProcess, tmp_path: Path) -> None:
    """Served with a certificate of its own, and plain HTTP is not answered there."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "wallet")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "tls.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "tls.key").write_bytes(private)
    idle_wallet.start(more=("--tls-cert", str(tmp_path / "tls.pem"), "--tls-key", str(tmp_path / "tls.key")))
    player = Player(sandbox, idle_wallet)
    assert player.send("reserve_cash", "1", probe=False)["status"] is None
    idle_wallet.url = idle_wallet.url.replace("http:", "https:")
    assert 200 == player.send("reserve_cash", "1", ca_file=str(tmp_path / "tls.pem"))["status"]
