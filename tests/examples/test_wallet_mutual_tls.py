"""The example wallet as in production: HTTPS for Phoenix, mutual TLS with the gateway, a known caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.v1 import common_pb2, wallet_pb2, wallet_pb2_grpc
from tests.certificates import Authority
from tests.examples.player import Player, entries
from tests.examples.wallet_process import WalletProcess
from tests.gateway_process import GatewayProcess
from tests.policy_setup import PolicySetup, caller, identity, start_policy_setup

OURS: dict[str, Any] = {"operator_code": "acme", "environment": "sandbox"}
POLICY = caller("wallet", allow=["wallet.verify", "wallet.record"], operators=["acme/sandbox"]) + caller(
    "reader", allow=["evidence.*"], operators=["acme/sandbox"]
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySetup]:
    with start_policy_setup(tmp_path_factory.mktemp("mutual-tls")) as made:
        yield made


@pytest.fixture(scope="module")
def strict(whole: PolicySetup) -> Iterator[GatewayProcess]:
    """A gateway that knows its callers by their certificates."""
    with whole.gateway(POLICY) as gateway:
        gateway.wait_serving("phoenix.gateway.v1.WalletService")
        yield gateway


@contextmanager
def wallet_of(
    whole: PolicySetup, gateway: GatewayProcess, folder: Path, name: str | None, authority: Authority | None = None
) -> Iterator[WalletProcess]:
    """Run the wallet over HTTPS. `name` is the name in its client certificate; None means no certificate."""
    (folder / "ca.pem").write_bytes(whole.authority.certificate)
    certificate, key = whole.authority.issue("127.0.0.1").write(folder, "own")
    options = ["--tls-cert", str(certificate), "--tls-key", str(key), "--gateway-ca", str(folder / "ca.pem")]
    if name is not None:
        named, its_key = (authority or whole.authority).issue(identity(name)).write(folder, "client")
        options += ["--client-cert", str(named), "--client-key", str(its_key)]
    process = WalletProcess(gateway.address)
    process.url = process.url.replace("http:", "https:")
    process.start(more=options)
    try:
        yield process
    finally:
        process.__exit__()


def test_a_wallet_with_its_own_certificate(whole: PolicySetup, strict: GatewayProcess, tmp_path: Path) -> None:
    """The money moves, the outcome is recorded, a forged call is refused, and the evidence needs its own right."""
    with wallet_of(whole, strict, tmp_path, "wallet") as wallet:
        player, ca = Player(whole.sandbox, wallet), str(tmp_path / "ca.pem")
        report = player.send("reserve_cash", "12.50", ca_file=ca, **OURS)
        assert (200, "success", ("87.50", "12.50")) == (report["status"], report["treatment"], player.funds)
        forged = player.send("reserve_cash", "12.50", forge="bit", ca_file=ca, **OURS)
        assert (401, ("87.50", "12.50")) == (forged["status"], player.funds)
        key = wallet_pb2.WalletOperationKey(operation="reserve_cash", idempotency_key=report["idempotency_key"])
        asked = wallet_pb2.GetWalletEvidenceRequest(key=key)
        with whole.channel(strict, identity("reader")) as channel:
            evidence = wallet_pb2_grpc.WalletServiceStub(channel).GetWalletEvidence(asked, timeout=10).evidence
        assert [(evidence.response.status, evidence.response.body)] == entries(wallet, report["idempotency_key"])
        assert common_pb2.PHOENIX_ENVIRONMENT_SANDBOX == evidence.environment


@pytest.mark.parametrize("name", [None, "reader", "nobody", "other authority"])
def test_a_wallet_that_may_not(whole: PolicySetup, strict: GatewayProcess, tmp_path: Path, name: str | None) -> None:
    """Without certificate, right, known name or our authority: genuine and forged calls get 503, nothing moves."""
    authority = Authority("Another CA") if name == "other authority" else None
    with wallet_of(whole, strict, tmp_path, "wallet" if authority else name, authority) as wallet:
        player, ca = Player(whole.sandbox, wallet), str(tmp_path / "ca.pem")
        reports = [
            player.send("reserve_cash", "12.50", forge=forge, probe=False, ca_file=ca, **OURS)
            for forge in ("none", "bit")
        ]
        assert ([503, 503], ("100.00", "0")) == ([report["status"] for report in reports], player.funds)
        assert [] == [entry for report in reports for entry in entries(wallet, report["idempotency_key"])]
