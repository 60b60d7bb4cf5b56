"""A player whose moves Phoenix sends to an example wallet, and what must hold of each key afterwards."""

from __future__ import annotations

import base64
import json
import sqlite3
import uuid
from contextlib import closing
from decimal import Decimal
from typing import Any

import grpc

from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.examples.wallet_process import WalletProcess
from tests.gateway_process import GatewayProcess
from tests.sandbox_process import SandboxProcess


class Player:
    """One player with 100.00 EUR and one order."""

    def __init__(self, sandbox: SandboxProcess, wallet: WalletProcess, deposit: str = "100.00") -> None:
        self.name = f"player-{uuid.uuid4()}"
        self.order = f"order-{uuid.uuid4()}"
        self._sandbox = sandbox
        self._wallet = wallet
        wallet.ledger.deposit(self.name, "EUR", Decimal(deposit))

    def send(self, operation: str, amount: Any, key: str | None = None, **wish: Any) -> dict[str, Any]:
        """Have Phoenix send a move; return its report, with the answer's body as `answer`."""
        defaults = {"references": {"order_id": self.order}} if operation != "credit_cash" else {}
        return self.ask(
            **{
                "operation": operation,
                "amount": amount,
                "idempotency_key": key or str(uuid.uuid4()),
                **defaults,
                **wish,
            }
        )

    def ask(self, **wish: Any) -> dict[str, Any]:
        """Have Phoenix send whatever is wished."""
        report: dict[str, Any] = self._sandbox.control(
            "POST", "/wallet/send", {"player": self.name, "target": self._wallet.url, **wish}
        )
        body = base64.b64decode(report["body_base64"])
        report["answer"] = json.loads(body) if body else None
        return report

    @property
    def funds(self) -> tuple[str, str]:
        """Return available and reserved."""
        found = self._wallet.ledger.funds(self.name, "EUR")
        assert found is not None
        return str(found.available), str(found.reserved)


def entries(wallet: WalletProcess, key: str) -> list[tuple[Any, ...]]:
    """Return status and body of the ledger's entries of a key."""
    with closing(sqlite3.connect(wallet.ledger_path)) as db:
        return list(db.execute("SELECT status, body FROM moves WHERE idempotency_key = ?", (key,)))


def assert_done_once(
    gateway: GatewayProcess, wallet: WalletProcess, operation: str, key: str
) -> wallet_pb2.WalletEvidence:
    """One ledger entry, one recorded outcome, the same bytes, no incidents. Returns: the evidence."""
    evidence = assert_booked_once(gateway, wallet, operation, key)
    assert [] == list(evidence.incidents)
    return evidence


def assert_booked_once(
    gateway: GatewayProcess, wallet: WalletProcess, operation: str, key: str
) -> wallet_pb2.WalletEvidence:
    """One ledger entry, one recorded outcome, the same bytes. An attempt that another one has overtaken, because it
    was frozen for longer than its lease, may have brought the same outcome late. Returns: the evidence."""
    with grpc.insecure_channel(gateway.address) as channel:
        named = wallet_pb2.WalletOperationKey(operation=operation, idempotency_key=key)
        asked = wallet_pb2.GetWalletEvidenceRequest(key=named)
        evidence = wallet_pb2_grpc.WalletServiceStub(channel).GetWalletEvidence(asked, timeout=10).evidence
    assert wallet_pb2.WALLET_OPERATION_STATE_FINISHED == evidence.state
    recorded = evidence.response
    assert [(recorded.status, recorded.body)] == entries(wallet, key)
    for late in evidence.incidents:
        assert ("STALE_ATTEMPT", recorded.status, recorded.body_sha256) == (
            late.reason,
            late.response_status,
            late.response_body_sha256,
        )
        assert late.attempt < evidence.attempt
    return evidence
