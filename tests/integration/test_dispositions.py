"""Every disposition of a verified webhook by its own name: how it comes about, the exact reply, the metric's label.

The replies are API.md's, written out here, not the code's.
"""

from __future__ import annotations

import sys
import time
import uuid

import grpc
import pytest

from gateway.core.wallet_verdict import Disposition
from gateway.v1 import common_pb2, wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import GatewayProcess
from tests.integration.test_wallet import outcome, signed
from tests.integration.webhook_verdicts import JSON, Asked


def test_every_name_has_its_test() -> None:
    """No disposition without one below."""
    named = {name.removeprefix("test_") for name in vars(sys.modules[__name__]) if name.startswith("test_")}
    assert {one.value for one in Disposition} <= named


def test_NEW(asked: Asked) -> None:
    """The first call of a key: attempt 1, a lease in the future."""
    answer = asked.expect(asked.move(), "VERIFIED", None, "NEW")
    assert (1, True) == (answer.attempt, answer.lease_expire_time.ToMicroseconds() > time.time_ns() // 1000)


def test_REPLAY(asked: Asked) -> None:
    """The recorded response byte for byte, a refusal with the content type of one."""
    for status, content_type in ((200, JSON), (422, "application/problem+json")):
        request = asked.move()
        claimed = asked.expect(request, "VERIFIED", None, "NEW")
        body = bytes(range(256))
        asked.wallet.RecordWalletOutcome(outcome(claimed, response_status=status, response_body=body))
        again = asked.expect(request, "VERIFIED", (status, content_type, body, False), "REPLAY")
        assert (status, body) == (again.recorded_response.status, again.recorded_response.body)


def test_IN_PROGRESS(asked: Asked) -> None:
    """Claimed and not finished: 409."""
    request = asked.move()
    asked.expect(request, "VERIFIED", None, "NEW")
    asked.expect(request, "VERIFIED", (409, JSON, b'{"error":"in_progress"}', False), "IN_PROGRESS")


def test_RECLAIMED(asked: Asked) -> None:
    """A lease that ended without an outcome goes to one new attempt with a higher number.

    A passing failure is no outcome: the record of it is refused, and changes nothing.
    """
    environ = asked.gateway.environ | {"PREDICTION_WALLET_LEASE": "0.2"}
    for name in ("GATEWAY_LISTEN", "GATEWAY_ADMIN_LISTEN"):
        del environ[name]
    request = asked.move()
    with GatewayProcess(environ) as short, grpc.insecure_channel(short.address) as channel:
        stub = wallet_pb2_grpc.WalletServiceStub(channel)
        claimed = stub.VerifyWallet(request, timeout=10, wait_for_ready=True)
        with pytest.raises(grpc.RpcError) as refused:
            stub.RecordWalletOutcome(outcome(claimed, response_status=503))
    assert grpc.StatusCode.INVALID_ARGUMENT == refused.value.code()
    assert wallet_pb2.WALLET_DISPOSITION_NEW == claimed.disposition
    time.sleep(max(0.0, claimed.lease_expire_time.ToMicroseconds() / 1e6 - time.time()))  # the lease itself is awaited
    again = asked.expect(request, "VERIFIED", None, "RECLAIMED")
    assert (claimed.operation_id, 2) == (again.operation_id, again.attempt)


def test_CONFLICT(asked: Asked) -> None:
    """The same key with other content: 422 with the code that the contract names; kept in the evidence."""
    key = str(uuid.uuid4())
    claimed = asked.expect(asked.move(idempotency_key=key, player="p-conflict"), "VERIFIED", None, "NEW")
    body = b'{"type":"about:blank","title":"Idempotency conflict","status":422,"code":"idempotency_conflict"}'
    other = asked.move(idempotency_key=key, player="p-conflict", amount={"value": "12.51"})
    asked.expect(other, "VERIFIED", (422, "application/problem+json", body, False), "CONFLICT")
    by_id = wallet_pb2.GetWalletEvidenceRequest(operation_id=claimed.operation_id)
    conflicts = asked.wallet.GetWalletEvidence(by_id).evidence.conflicts
    assert [(1, other.raw_body)] == [(one.count, one.request_body) for one in conflicts]


def test_STATUS_PROBE(asked: Asked) -> None:
    """No reply: the wallet answers from the state; nothing is claimed."""
    key = str(uuid.uuid4())
    probe = signed(asked.sandbox, route="status", operation="transaction_status", idempotency_key=key)
    answer = asked.expect(probe, "VERIFIED", None, "STATUS_PROBE")
    assert (wallet_pb2.WALLET_ORIGINAL_STATE_NOT_SEEN, "", 0) == (
        answer.original_state,
        answer.operation_id,
        answer.attempt,
    )


def test_NOT_A_MOVE(asked: Asked) -> None:
    """A balance: answered by the wallet, nothing is claimed; a key that should not be there is no ground to refuse."""
    for key in (None, "unexpected"):
        request = signed(asked.sandbox, route="balance", operation="balance", idempotency_key=key)
        answer = asked.expect(request, "VERIFIED", None, "NOT_A_MOVE")
        assert "" == answer.operation_id


def test_an_outcome_may_name_whose_move_it_is_for(asked: Asked) -> None:
    """Named rightly it is recorded; a wrong environment finds no operator."""
    claimed = asked.expect(asked.move(), "VERIFIED", None, "NEW")
    wrong = outcome(claimed, operator_code="acme", environment=common_pb2.PHOENIX_ENVIRONMENT_PROD)
    with pytest.raises(grpc.RpcError) as refused:
        asked.wallet.RecordWalletOutcome(wrong)
    assert grpc.StatusCode.NOT_FOUND == refused.value.code()
    right = outcome(claimed, operator_code="acme", environment=common_pb2.PHOENIX_ENVIRONMENT_SANDBOX)
    evidence = asked.wallet.RecordWalletOutcome(right).evidence
    assert wallet_pb2.WALLET_OPERATION_STATE_FINISHED == evidence.state
