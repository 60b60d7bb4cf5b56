"""Webhooks that are sent to a gateway, with the verdict, the reply and the metric that each must get."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import GatewayProcess
from tests.integration.test_wallet import signed
from tests.sandbox_process import SandboxProcess

WALLET = "phoenix.gateway.v1.WalletService"
JSON = "application/json"
TRY_AGAIN = (503, JSON, b'{"error":"temporarily_unavailable"}', True)
BAD_SIGNATURE_REPLY = (401, JSON, b'{"error":"bad_signature"}', False)
_LABEL = re.compile(r'(\w+)="(\w*)"')


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A gateway, and Phoenix before it."""

    gateway: GatewayProcess
    sandbox: SandboxProcess
    wallet: wallet_pb2_grpc.WalletServiceStub

    def move(self, operation: str = "reserve_cash", **wishes: Any) -> wallet_pb2.VerifyWalletRequest:
        """A genuine operation with its own key, player and order, unless the arguments name others."""
        wishes.setdefault("player", f"player-{uuid.uuid4()}")
        return signed(self.sandbox, operation=operation, **wishes)

    def counted(self) -> dict[tuple[str, str, str], float]:
        """The decisions so far, by environment, verdict and disposition."""
        with urlopen(f"http://{self.gateway.admin_address}/metrics", timeout=5) as page:
            text = page.read().decode()
        found: dict[tuple[str, str, str], float] = {}
        for line in text.splitlines():
            if line.startswith("phoenix_gateway_wallet_decisions_total{"):
                labels = dict(_LABEL.findall(line))
                at = (labels["environment"], labels["verdict"], labels["disposition"])
                found[at] = float(line.rpartition(" ")[2])
        return found

    def grown_since(self, before: dict[tuple[str, str, str], float]) -> dict[tuple[str, str, str], float]:
        """What has been counted since then; waits for it, since a call is counted when its answer is on its way."""
        until = time.monotonic() + 5
        while True:
            after = self.counted()
            grown = {labels: after[labels] - before[labels] for labels in after if after[labels] != before[labels]}
            if grown or time.monotonic() > until:
                return grown
            time.sleep(0.01)

    def expect(
        self,
        request: wallet_pb2.VerifyWalletRequest,
        verdict: str,
        reply: tuple[int, str, bytes, bool] | None,
        disposition: str = "",
        timeout: float = 10,
    ) -> wallet_pb2.VerifyWalletResponse:
        """Send a webhook: this verdict and disposition, this reply, counted under these names once."""
        before = self.counted()
        answer = self.wallet.VerifyWallet(request, timeout=timeout)
        reported = (
            wallet_pb2.WalletVerdict.Name(answer.verdict).removeprefix("WALLET_VERDICT_"),
            wallet_pb2.WalletDisposition.Name(answer.disposition)
            .removeprefix("WALLET_DISPOSITION_")
            .replace("UNSPECIFIED", ""),
        )
        assert (verdict, disposition) == reported
        sent = answer.reply
        found = (sent.status, sent.content_type, sent.body, sent.retry_after_seconds > 0)
        assert reply == (found if answer.HasField("reply") else None)
        assert (verdict == "VERIFIED") == answer.HasField("operation")
        assert {("sandbox", verdict, disposition): 1} == self.grown_since(before)
        return answer


def asked_of(gateway: GatewayProcess, sandbox: SandboxProcess) -> Iterator[Asked]:
    sandbox.control("POST", "/reset", {})
    with grpc.insecure_channel(gateway.address) as channel:
        yield Asked(gateway=gateway, sandbox=sandbox, wallet=wallet_pb2_grpc.WalletServiceStub(channel))


def with_body(asked: Asked, **members: Any) -> wallet_pb2.VerifyWalletRequest:
    """A signed move that is right but for these members; None takes one out."""
    body: dict[str, Any] = {
        "operation": "reserve_cash",
        "player": {"external_id": f"player-{uuid.uuid4()}"},
        "currency_code": "EUR",
        "amount": {"value": "1.00"},
        "references": {"order_id": "o-1"},
        **members,
    }
    return signed(asked.sandbox, body={name: value for name, value in body.items() if value is not None})


def rsa_pem() -> str:
    """A public key of another kind than Phoenix's."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def logged(asked: Asked, request_id: str) -> dict[str, Any]:
    """The log line of the webhook with this id; waits for it, since lines are written some milliseconds later."""
    until = time.monotonic() + 10
    while True:
        for line in asked.gateway.log_text.splitlines():
            if f'"webhook_request_id":"{request_id}"' in line:
                found: dict[str, Any] = json.loads(line)
                return found
        assert time.monotonic() < until
        time.sleep(0.05)
