"""Genuine webhooks with something harmless and odd: none is refused for ever, and each oddity is counted."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import GatewayProcess, reason_of
from tests.integration.test_wallet import outcome, reserve, signed
from tests.sandbox_process import SandboxProcess

V = wallet_pb2.WalletVerdict
D = wallet_pb2.WalletDisposition
VERIFIED_NEW = (V.WALLET_VERDICT_VERIFIED, D.WALLET_DISPOSITION_NEW)


@pytest.fixture
def wallet(channel: grpc.Channel) -> wallet_pb2_grpc.WalletServiceStub:
    return wallet_pb2_grpc.WalletServiceStub(channel)


def counted(gateway: GatewayProcess, kind: str) -> float:
    """How often an oddity was counted so far."""
    with urlopen(f"http://{gateway.admin_address}/metrics", timeout=5) as page:
        found = re.search(rf'odd_headers_total{{kind="{kind}"}} (\S+)', page.read().decode())
    assert found is not None
    return float(found[1])


def wait_counted(gateway: GatewayProcess, kind: str, before: float) -> None:
    """Wait until it was counted again: a call is counted when its answer is on its way."""
    until = time.monotonic() + 5
    while counted(gateway, kind) <= before:
        assert time.monotonic() < until, f"{kind} was not counted"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("oddity", "kind"),
    [
        ("repeated_signature", "REPEATED"),
        ("repeated_key", "REPEATED"),
        ("folded_signature", "REPEATED"),
        ("folded_key", "REPEATED"),
        ("blanks", "BLANKS"),
        ("long_header", "LONG"),
        ("many_headers", "MANY"),
        ("not_ascii", "NOT_ASCII"),
        ("trailing_slash", "PATH"),
        ("double_slash", "PATH"),
        ("dot_segment", "PATH"),
        ("long_query", "QUERY"),
    ],
)
def test_what_a_proxy_did_is_counted_and_not_refused(
    sandbox: SandboxProcess,
    gateway: GatewayProcess,
    wallet: wallet_pb2_grpc.WalletServiceStub,
    oddity: str,
    kind: str,
) -> None:
    """VERIFIED and NEW under Phoenix's own key; the plain retry is the same move."""
    key, before = str(uuid.uuid4()), counted(gateway, kind)
    webhook = {"operation": "reserve_cash", "player": f"p-{key}", "idempotency_key": key}
    odd = wallet.VerifyWallet(signed(sandbox, oddities=[oddity], **webhook))
    assert (*VERIFIED_NEW, key) == (odd.verdict, odd.disposition, odd.operation.idempotency_key)
    assert D.WALLET_DISPOSITION_IN_PROGRESS == wallet.VerifyWallet(signed(sandbox, **webhook)).disposition
    wait_counted(gateway, kind, before)


def test_the_letter_case_of_the_method_is_counted_and_not_refused(
    sandbox: SandboxProcess, gateway: GatewayProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """`post` is POST."""
    before, request = counted(gateway, "METHOD"), reserve(sandbox)
    request.method = "post"
    answer = wallet.VerifyWallet(request)
    assert VERIFIED_NEW == (answer.verdict, answer.disposition)
    wait_counted(gateway, "METHOD", before)


def test_a_value_that_is_not_utf_8_is_ignored(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """Bytes beside the text; also for the headers that matter."""
    request = reserve(sandbox)
    request.headers.add(name="x-name", raw_value=b"J\xf6rg\xff\x00")
    for header in request.headers:
        if header.name in ("signature", "idempotency-key"):
            header.raw_value = header.value.encode()
            header.value = ""
    answer = wallet.VerifyWallet(request)
    assert VERIFIED_NEW == (answer.verdict, answer.disposition)


@pytest.mark.parametrize(
    ("name", "operation", "sandbox_route"),
    [
        ("BALANCE", "balance", "balance"),
        ("TRANSACTIONS", "credit_cash", "transactions"),
        ("TRANSACTION_STATUS", "transaction_status", "status"),
    ],
)
def test_a_wallet_may_mount_its_webhooks_anywhere(
    sandbox: SandboxProcess,
    wallet: wallet_pb2_grpc.WalletServiceStub,
    name: str,
    operation: str,
    sandbox_route: str,
) -> None:
    """`route` counts in place of the path, and the signed operation must still be of that route."""
    request = signed(sandbox, operation=operation, route=sandbox_route)
    request.path = "/hooks/phoenix"
    request.route = wallet_pb2.WalletRoute.Value(f"WALLET_ROUTE_{name}")
    assert V.WALLET_VERDICT_VERIFIED == wallet.VerifyWallet(request).verdict
    request.path = ""
    assert V.WALLET_VERDICT_VERIFIED == wallet.VerifyWallet(request).verdict
    other = "BALANCE" if name != "BALANCE" else "TRANSACTIONS"
    request.route = wallet_pb2.WalletRoute.Value(f"WALLET_ROUTE_{other}")
    assert V.WALLET_VERDICT_UNREADABLE_OPERATION == wallet.VerifyWallet(request).verdict


def test_a_call_without_path_and_route_is_the_wallets_fault(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """INVALID_FIELD, which the wallet answers with 503."""
    request = reserve(sandbox)
    request.path = ""
    with pytest.raises(grpc.RpcError) as refused:
        wallet.VerifyWallet(request)
    assert "INVALID_FIELD" == reason_of(refused.value)


def body_with(members: bytes, player: str = "") -> bytes:
    """A move with these further members, as they would come on the wire."""
    move: dict[str, Any] = {
        "operation": "credit_cash",
        "player": {"external_id": player or f"player-{uuid.uuid4()}"},
        "currency_code": "EUR",
        "amount": {"value": "12.50"},
    }
    return json.dumps(move).encode()[:-1] + b"," + members + b"}"


@pytest.mark.parametrize(
    ("members", "references"),
    [
        (b'"references":{"title":"Goal \\ud83d"}', '{"title":"Goal \\ud83d"}'),
        (b'"references":{"title":"a\\u0000b"}', '{"title":"a\\u0000b"}'),
        (b'"odds":1e400', ""),
        (b'"odds":' + b"7" * 41, ""),
        (b'"references":{"odds":1e400}', '{"odds":1e400}'),
        (b'"reason":"a\\u0000\\ud83d"', ""),
        (b'"references":{"title":"Goal \xf0\x9f"}', '{"title":"Goal \\udcf0\\udc9f"}'),
        (b'"title":"J\xf6rg","reason":"\xed\xa0\xbd"', ""),
    ],
    ids=["surrogate", "nul", "exponent", "41 digits", "exponent in references", "reason", "cut text", "no UTF-8"],
)
def test_what_decides_nothing_is_kept_as_it_came(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub, members: bytes, references: str
) -> None:
    """VERIFIED and NEW; the evidence has the very bytes, and a repeat is the same move."""
    body, key = body_with(members), str(uuid.uuid4())
    request = signed(sandbox, raw_base64=base64.b64encode(body).decode(), idempotency_key=key)
    answer = wallet.VerifyWallet(request)
    assert (*VERIFIED_NEW, references) == (answer.verdict, answer.disposition, answer.operation.references_json)
    wallet.RecordWalletOutcome(outcome(answer))
    assert D.WALLET_DISPOSITION_REPLAY == wallet.VerifyWallet(request).disposition
    by_id = wallet_pb2.GetWalletEvidenceRequest(operation_id=answer.operation_id)
    assert body == wallet.GetWalletEvidence(by_id).evidence.request_body


@pytest.mark.parametrize("status", [100, 199, 408, 409, 425, 429, 500, 503, 599])
def test_a_passing_failure_is_not_recorded_for_ever(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub, status: int
) -> None:
    """INVALID_FIELD that says why; the move stays unfinished. With `final` it is recorded."""
    request = reserve(sandbox)
    claimed = wallet.VerifyWallet(request)
    with pytest.raises(grpc.RpcError) as refused:
        wallet.RecordWalletOutcome(outcome(claimed, response_status=status))
    assert "INVALID_FIELD" == reason_of(refused.value)
    assert "response_status: is a passing failure" in (refused.value.details() or "")
    assert D.WALLET_DISPOSITION_IN_PROGRESS == wallet.VerifyWallet(request).disposition
    wallet.RecordWalletOutcome(outcome(claimed, response_status=status, final=True))
    assert status == wallet.VerifyWallet(request).reply.status


@pytest.mark.parametrize("field", ["operation_id", "operator_transaction_id", "operator_reservation_id"])
def test_a_nul_in_an_id_is_the_callers_fault(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub, field: str
) -> None:
    """INVALID_FIELD, not "try again" for ever."""
    claimed = wallet.VerifyWallet(reserve(sandbox))
    with pytest.raises(grpc.RpcError) as refused:
        wallet.RecordWalletOutcome(outcome(claimed, **{field: "tx\x00"}))
    assert ("INVALID_FIELD", True) == (reason_of(refused.value), field in (refused.value.details() or ""))
