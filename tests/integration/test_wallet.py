"""Wallet webhooks end to end: signed by the sandbox, verified and claimed by a gateway process."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from gateway.v1 import keys_pb2, keys_pb2_grpc, wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import GatewayProcess, reason_of
from tests.sandbox_process import SandboxProcess

V = wallet_pb2.WalletVerdict
D = wallet_pb2.WalletDisposition


@pytest.fixture
def wallet(channel: grpc.Channel) -> wallet_pb2_grpc.WalletServiceStub:
    return wallet_pb2_grpc.WalletServiceStub(channel)


def signed(sandbox: SandboxProcess, **wishes: Any) -> wallet_pb2.VerifyWalletRequest:
    """Return a webhook as the sandbox signs it."""
    wishes.setdefault("route", "transactions")
    wishes.setdefault("idempotency_key", str(uuid.uuid4()))
    return as_request(sandbox.control("POST", "/wallet/sign", wishes))


def as_request(webhook: Mapping[str, Any]) -> wallet_pb2.VerifyWalletRequest:
    return wallet_pb2.VerifyWalletRequest(
        method=webhook["method"],
        path=webhook["path"],
        headers=[wallet_pb2.HttpHeader(name=name, value=value) for name, value in webhook["headers"]],
        raw_body=base64.b64decode(webhook["body_base64"]),
    )


def reserve(sandbox: SandboxProcess, **wishes: Any) -> wallet_pb2.VerifyWalletRequest:
    return signed(sandbox, operation="reserve_cash", **wishes)


def outcome(claimed: wallet_pb2.VerifyWalletResponse, **changes: Any) -> wallet_pb2.RecordWalletOutcomeRequest:
    values: dict[str, Any] = {
        "operation_id": claimed.operation_id,
        "attempt": claimed.attempt,
        "response_status": 200,
        "response_body": b'{"available":"87.50","reserved":"12.50"}',
        "operator_transaction_id": "tx-1",
        **changes,
    }
    return wallet_pb2.RecordWalletOutcomeRequest(**values)


def test_a_new_move_is_claimed(sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub) -> None:
    """A genuine reserve is VERIFIED and NEW, read, and nothing is to be sent back yet."""
    key = str(uuid.uuid4())
    answer = wallet.VerifyWallet(reserve(sandbox, idempotency_key=key))
    assert (V.WALLET_VERDICT_VERIFIED, D.WALLET_DISPOSITION_NEW) == (answer.verdict, answer.disposition)
    assert ("reserve_cash", key, 1) == (answer.operation.operation, answer.operation.idempotency_key, answer.attempt)
    assert not answer.HasField("reply")


def test_a_second_call_while_the_first_is_at_work_gets_409(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """The same move again, before an outcome: nothing is to be done."""
    request = reserve(sandbox)
    wallet.VerifyWallet(request)
    again = wallet.VerifyWallet(request)
    assert (D.WALLET_DISPOSITION_IN_PROGRESS, 409) == (again.disposition, again.reply.status)


def test_a_replay_gets_the_recorded_response_byte_for_byte(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """After the outcome, the same move is answered from the record."""
    request = reserve(sandbox)
    body = bytes(range(256))
    claimed = wallet.VerifyWallet(request)
    wallet.RecordWalletOutcome(outcome(claimed, response_body=body))
    again = wallet.VerifyWallet(request)
    assert D.WALLET_DISPOSITION_REPLAY == again.disposition
    assert (200, body) == (again.reply.status, again.reply.body)


def test_the_same_key_with_another_amount_is_a_conflict(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """Only a real difference counts, and this is one."""
    key = str(uuid.uuid4())
    wallet.VerifyWallet(reserve(sandbox, idempotency_key=key, amount={"value": "12.50"}))
    other = wallet.VerifyWallet(reserve(sandbox, idempotency_key=key, amount={"value": "12.51"}))
    assert (D.WALLET_DISPOSITION_CONFLICT, 422) == (other.disposition, other.reply.status)
    assert ("application/problem+json", "idempotency_conflict") == (
        other.reply.content_type,
        json.loads(other.reply.body)["code"],
    )


@pytest.mark.parametrize(
    ("forge", "verdict", "body"),
    [
        ("missing", V.WALLET_VERDICT_MISSING_SIGNATURE, b'{"error":"missing_signature"}'),
        ("padded", V.WALLET_VERDICT_MALFORMED_SIGNATURE, b'{"error":"bad_signature"}'),
        ("bit", V.WALLET_VERDICT_BAD_SIGNATURE, b'{"error":"bad_signature"}'),
        ("operator_key", V.WALLET_VERDICT_BAD_SIGNATURE, b'{"error":"bad_signature"}'),
    ],
)
def test_a_forged_call_is_refused_finally(
    sandbox: SandboxProcess,
    wallet: wallet_pb2_grpc.WalletServiceStub,
    forge: str,
    verdict: int,
    body: bytes,
) -> None:
    """What certainly is not Phoenix's gets 401, and no operation is made of it."""
    answer = wallet.VerifyWallet(reserve(sandbox, forge=forge))
    assert (verdict, 401, body, "") == (answer.verdict, answer.reply.status, answer.reply.body, answer.operation_id)


def test_a_rotation_refuses_no_genuine_call(sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub) -> None:
    """A call signed with the new key verifies at once; one that the old key signed meanwhile gets 503, never 401."""
    on_its_way = reserve(sandbox)
    sandbox.control("POST", "/keys/rotate", {})
    assert V.WALLET_VERDICT_VERIFIED == wallet.VerifyWallet(reserve(sandbox)).verdict
    late = wallet.VerifyWallet(on_its_way)
    assert (V.WALLET_VERDICT_KEY_RETIRED, 503) == (late.verdict, late.reply.status)
    assert late.reply.retry_after_seconds > 0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 200, "body": "<html>hello</html>"},
        {"kind": "cut"},
        {"kind": "hang"},
        {"kind": "garbage"},
    ],
)
def test_a_key_server_in_trouble_leads_to_503(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub, fault: dict[str, Any]
) -> None:
    """Signed with a key that cannot be fetched: no final refusal."""
    # The fault comes first: a fetch on behalf of an earlier call could get the new key.
    sandbox.control("POST", "/faults", {"surface": "prediction", "path_prefix": "/.well-known", **fault})
    sandbox.control("POST", "/keys/rotate", {})
    request = reserve(sandbox)
    answer = wallet.VerifyWallet(request, timeout=10)
    assert (V.WALLET_VERDICT_KEY_UNAVAILABLE, 503) == (answer.verdict, answer.reply.status)
    sandbox.control("DELETE", "/faults")
    assert V.WALLET_VERDICT_VERIFIED == wallet.VerifyWallet(request, timeout=10).verdict


@pytest.mark.parametrize(
    ("wishes", "verdict", "status"),
    [
        ({"raw_base64": base64.b64encode(b"[1]").decode()}, V.WALLET_VERDICT_MALFORMED_BODY, 400),
        ({"raw_base64": ""}, V.WALLET_VERDICT_MALFORMED_BODY, 400),
        (
            {"body": {"operation": "reserve_cash", "operator_id": "op-other", "environment": "sandbox"}},
            V.WALLET_VERDICT_WRONG_OPERATOR,
            403,
        ),
        (
            {"body": {"operation": "reserve_cash", "operator_id": "op-acme", "environment": "prod"}},
            V.WALLET_VERDICT_WRONG_ENVIRONMENT,
            403,
        ),
        ({"body": {"operation": "grab_cash"}}, V.WALLET_VERDICT_UNREADABLE_OPERATION, 503),
        ({"operation": "reserve_cash", "route": "balance"}, V.WALLET_VERDICT_UNREADABLE_OPERATION, 503),
    ],
)
def test_a_signed_call_that_cannot_be_taken(
    sandbox: SandboxProcess,
    wallet: wallet_pb2_grpc.WalletServiceStub,
    wishes: dict[str, Any],
    verdict: int,
    status: int,
) -> None:
    """Certain faults of the body are final; doubts are 503."""
    answer = wallet.VerifyWallet(signed(sandbox, **wishes))
    assert (verdict, status) == (answer.verdict, answer.reply.status)


def test_a_move_without_a_key_is_refused(sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub) -> None:
    """A signed move needs its idempotency key header."""
    request = reserve(sandbox)
    kept = [header for header in request.headers if header.name.lower() != "idempotency-key"]
    del request.headers[:]
    request.headers.extend(kept)
    answer = wallet.VerifyWallet(request)
    assert (V.WALLET_VERDICT_MISSING_IDEMPOTENCY_KEY, 400) == (answer.verdict, answer.reply.status)


def test_a_balance_call_is_no_move(sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub) -> None:
    """Verified, and nothing is claimed."""
    answer = wallet.VerifyWallet(signed(sandbox, route="balance", operation="balance"))
    assert (D.WALLET_DISPOSITION_NOT_A_MOVE, "") == (answer.disposition, answer.operation_id)


def test_a_probe_shows_what_is_known_and_claims_nothing(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """NOT_SEEN, then the move is marked `probed_before`; IN_PROGRESS; FINISHED with the response."""
    key = str(uuid.uuid4())
    states = wallet_pb2.WalletOriginalState

    def probe() -> wallet_pb2.VerifyWalletResponse:
        return wallet.VerifyWallet(signed(sandbox, route="status", operation="transaction_status", idempotency_key=key))

    assert states.WALLET_ORIGINAL_STATE_NOT_SEEN == probe().original_state
    claimed = wallet.VerifyWallet(reserve(sandbox, idempotency_key=key))
    assert (D.WALLET_DISPOSITION_NEW, True) == (claimed.disposition, claimed.probed_before)
    assert states.WALLET_ORIGINAL_STATE_IN_PROGRESS == probe().original_state
    wallet.RecordWalletOutcome(outcome(claimed))
    finished = probe()
    assert (D.WALLET_DISPOSITION_STATUS_PROBE, states.WALLET_ORIGINAL_STATE_FINISHED) == (
        finished.disposition,
        finished.original_state,
    )
    assert b'{"available":"87.50","reserved":"12.50"}' == finished.recorded_response.body


def test_another_outcome_is_refused_and_kept(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """The same outcome again is fine; another one is an incident in the evidence."""
    claimed = wallet.VerifyWallet(reserve(sandbox))
    wallet.RecordWalletOutcome(outcome(claimed))
    wallet.RecordWalletOutcome(outcome(claimed))
    with pytest.raises(grpc.RpcError) as refused:
        wallet.RecordWalletOutcome(outcome(claimed, response_status=422))
    assert "OUTCOME_DIFFERS" == reason_of(refused.value)
    by_id = wallet_pb2.GetWalletEvidenceRequest(operation_id=claimed.operation_id)
    evidence = wallet.GetWalletEvidence(by_id).evidence
    assert [("OUTCOME_DIFFERS", 422)] == [(one.reason, one.response_status) for one in evidence.incidents]
    assert wallet_pb2.WALLET_OPERATION_STATE_FINISHED == evidence.state


def test_the_same_body_under_another_key_is_flagged(
    sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """The key header is not signed: a captured body with a new key verifies, and is marked."""
    body = {
        "operation": "credit_cash",
        "player": {"external_id": f"player-{uuid.uuid4()}"},
        "currency_code": "EUR",
        "amount": {"value": "5.00"},
        "references": {"claim_side": "yes"},
    }
    flags = [wallet.VerifyWallet(signed(sandbox, body=body)).suspect_replay for _ in range(2)]
    assert [False, True] == flags


def test_many_identical_calls_make_one_new(sandbox: SandboxProcess, gateway: GatewayProcess) -> None:
    """200 concurrent calls: one wins, the others get "in progress"."""
    request = reserve(sandbox)

    def call(channel: grpc.Channel) -> int:
        return int(wallet_pb2_grpc.WalletServiceStub(channel).VerifyWallet(request).disposition)

    with grpc.insecure_channel(gateway.address) as channel, ThreadPoolExecutor(50) as pool:
        found = list(pool.map(call, [channel] * 200))
    assert (1, 199) == (
        found.count(D.WALLET_DISPOSITION_NEW),
        found.count(D.WALLET_DISPOSITION_IN_PROGRESS),
    )


def test_evidence_holds_the_call_exactly(sandbox: SandboxProcess, wallet: wallet_pb2_grpc.WalletServiceStub) -> None:
    """Body, signature, key and request id are kept as they came."""
    request = reserve(sandbox)
    headers = {header.name.lower(): header.value for header in request.headers}
    wallet.VerifyWallet(request)
    key = wallet_pb2.WalletOperationKey(operation="reserve_cash", idempotency_key=headers["idempotency-key"])
    evidence = wallet.GetWalletEvidence(wallet_pb2.GetWalletEvidenceRequest(key=key)).evidence
    assert (request.raw_body, headers["signature"], headers["x-request-id"]) == (
        evidence.request_body,
        evidence.signature,
        evidence.first_request_id,
    )


def test_keys_are_listed_without_material(sandbox: SandboxProcess, channel: grpc.Channel) -> None:
    """Every key by fingerprint or owner; not one byte of a secret."""
    listed = keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest())
    kinds = {key.kind for key in listed.keys}
    assert {
        keys_pb2.KEY_KIND_TENANT_HMAC,
        keys_pb2.KEY_KIND_ADMIN_API_KEY,
        keys_pb2.KEY_KIND_OPERATOR,
        keys_pb2.KEY_KIND_PLATFORM,
    } == kinds
    text = str(listed)
    assert not [name for name in ("INGESTION_HMAC_SECRET", "ADMIN_API_KEY") if sandbox.environ[name] in text]


def test_a_refreshed_platform_key_is_reported_as_changed(sandbox: SandboxProcess, channel: grpc.Channel) -> None:
    """RefreshPlatformKey waits for the fetch and returns its result."""
    keys = keys_pb2_grpc.KeyServiceStub(channel)
    before = keys.RefreshPlatformKey(keys_pb2.RefreshPlatformKeyRequest()).key_id
    sandbox.control("POST", "/keys/rotate", {})
    after = keys.RefreshPlatformKey(keys_pb2.RefreshPlatformKeyRequest())
    assert after.changed
    assert before != after.key_id


def test_what_happened_is_counted(
    sandbox: SandboxProcess, gateway: GatewayProcess, wallet: wallet_pb2_grpc.WalletServiceStub
) -> None:
    """The admin port shows calls, verdicts, evidence writes and key fetches."""
    wallet.VerifyWallet(reserve(sandbox))
    with urlopen(f"http://{gateway.admin_address}/metrics", timeout=5) as page:
        text = page.read().decode()
    samples = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}

    def total(prefix: str, *parts: str) -> float:
        return sum(v for k, v in samples.items() if k.startswith(prefix) and all(part in k for part in parts))

    assert total("phoenix_gateway_wallet_decisions_total", 'verdict="VERIFIED"', 'disposition="NEW"') >= 1
    assert total("phoenix_gateway_evidence_writes_total") >= 1
    assert total("phoenix_gateway_platform_key_events_total", "fetch_began") >= 1
    assert total("phoenix_gateway_calls_total", "VerifyWallet", 'status="OK"') >= 1
