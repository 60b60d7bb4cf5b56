"""Every verdict by its own name: how it comes about, the exact reply, the metric's label.

The replies are API.md's, written out here, not the code's. Phoenix takes 400, 401 and 403 as final.
"""

from __future__ import annotations

import base64
import sys
import uuid
from typing import Any

import pytest

from gateway.core.wallet_verdict import Verdict
from gateway.v1 import wallet_pb2
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_wallet import signed
from tests.integration.webhook_verdicts import BAD_SIGNATURE_REPLY, JSON, TRY_AGAIN, Asked, asked_of, rsa_pem, with_body
from tests.sandbox_process import SandboxProcess


def test_every_name_has_its_test() -> None:
    """No verdict without one below."""
    named = {name.removeprefix("test_") for name in vars(sys.modules[__name__]) if name.startswith("test_")}
    assert {one.value for one in Verdict} <= named


def test_VERIFIED(asked: Asked) -> None:
    """The signature is valid: the answer has the parsed operation and no reply."""
    answer = asked.expect(asked.move(), "VERIFIED", None, "NEW")
    assert ("reserve_cash", 64) == (answer.operation.operation, len(answer.key_id))


def test_MISSING_SIGNATURE(asked: Asked) -> None:
    """No header: 401."""
    reply = (401, JSON, b'{"error":"missing_signature"}', False)
    asked.expect(asked.move(forge="missing"), "MISSING_SIGNATURE", reply)


@pytest.mark.parametrize("forge", ["padded", "short", "alphabet", "empty"])
def test_MALFORMED_SIGNATURE(asked: Asked, forge: str) -> None:
    """Padded, empty, of another length or alphabet: 401."""
    request = asked.move(forge=forge if forge == "padded" else "none")
    header = next(header for header in request.headers if header.name == "signature")
    if forge == "short":
        header.value = header.value[:-1]
    elif forge == "alphabet":
        header.value = "+" + header.value[1:]
    elif forge == "empty":
        header.value = ""
    asked.expect(request, "MALFORMED_SIGNATURE", BAD_SIGNATURE_REPLY)


@pytest.mark.parametrize("oddity", ["different_signatures", "different_keys"])
def test_AMBIGUOUS_HEADERS(asked: Asked, oddity: str) -> None:
    """A proxy made two different values of one header: it may be corrected, so 503."""
    asked.expect(asked.move(oddities=[oddity]), "AMBIGUOUS_HEADERS", TRY_AGAIN)


@pytest.mark.parametrize("forge", ["bit", "body", "operator_key"])
def test_BAD_SIGNATURE(asked: Asked, forge: str) -> None:
    """Signature or body changed, or another key's, against a key fetched after the call came: 401."""
    fetches = asked.sandbox.control("GET", "/keys")["fetches"]
    asked.expect(asked.move(forge=forge), "BAD_SIGNATURE", BAD_SIGNATURE_REPLY)
    assert fetches < asked.sandbox.control("GET", "/keys")["fetches"]


@pytest.mark.parametrize(
    "trouble",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 200, "body": "<html><body>Welcome</body></html>"},
        {"kind": "status", "status": 200, "body": rsa_pem()},
        {"kind": "huge", "megabytes": 100},
        {"kind": "redirect"},
    ],
    ids=["500", "html", "rsa", "100 MB", "redirect"],
)
def test_KEY_UNAVAILABLE(asked: Asked, trouble: dict[str, Any]) -> None:
    """While the key is not available, a forgery and a signature with a newer key look the same: 503."""
    # The fault comes first: a fetch on behalf of an earlier call could get the new key.
    asked.sandbox.control("POST", "/faults", {"surface": "prediction", "path_prefix": "/.well-known", **trouble})
    asked.sandbox.control("POST", "/keys/rotate", {})
    genuine = asked.move()
    asked.expect(genuine, "KEY_UNAVAILABLE", TRY_AGAIN)
    asked.expect(asked.move(forge="bit"), "KEY_UNAVAILABLE", TRY_AGAIN)
    asked.sandbox.control("DELETE", "/faults")
    asked.expect(genuine, "VERIFIED", None, "NEW")


def test_KEY_RETIRED(asked: Asked) -> None:
    """Signed with the key that was replaced a moment ago: 503, for the call was on its way."""
    on_its_way = asked.move()
    asked.expect(on_its_way, "VERIFIED", None, "NEW")  # so that the old key is known here
    asked.sandbox.control("POST", "/keys/rotate", {})
    asked.expect(asked.move(), "VERIFIED", None, "NEW")
    asked.expect(on_its_way, "KEY_RETIRED", TRY_AGAIN)


@pytest.mark.parametrize("body", [b"", b"[1]", b'"text"', b"{", b"\xff{}"])
def test_MALFORMED_BODY(asked: Asked, body: bytes) -> None:
    """Signed, and no JSON object: 400."""
    request = signed(asked.sandbox, raw_base64=base64.b64encode(body).decode())
    asked.expect(request, "MALFORMED_BODY", (400, JSON, b'{"error":"malformed_body"}', False))


@pytest.mark.parametrize("route", ["transactions", "status"])
def test_MISSING_IDEMPOTENCY_KEY(asked: Asked, route: str) -> None:
    """A signed move without the header, a probe without header and member: 400."""
    operation = "reserve_cash" if route == "transactions" else "transaction_status"
    request = signed(asked.sandbox, route=route, operation=operation, idempotency_key=None)
    reply = (400, JSON, b'{"error":"missing_idempotency_key"}', False)
    asked.expect(request, "MISSING_IDEMPOTENCY_KEY", reply)


def test_WRONG_OPERATOR(asked: Asked) -> None:
    """The signed body names another operator: 403; one that names none is for us."""
    reply = (403, JSON, b'{"error":"wrong_operator"}', False)
    asked.expect(with_body(asked, operator_id="op-other"), "WRONG_OPERATOR", reply)
    asked.expect(with_body(asked), "VERIFIED", None, "NEW")


def test_WRONG_ENVIRONMENT(asked: Asked) -> None:
    """The signed body names the other environment: 403."""
    reply = (403, JSON, b'{"error":"wrong_environment"}', False)
    asked.expect(with_body(asked, environment="prod"), "WRONG_ENVIRONMENT", reply)


@pytest.mark.parametrize(
    "members",
    [
        {"operation": "grab_cash"},
        {"operation": None},
        {"operation": "balance"},
        {"player": None},
        {"currency_code": 7},
        {"amount": "1.00"},
        {"amount": {"value": "-1.00"}},
        {"environment": "production"},
        {"idempotency_key": "another than the header's"},
    ],
)
def test_UNREADABLE_OPERATION(asked: Asked, members: dict[str, Any]) -> None:
    """Phoenix signed it, and we cannot interpret it: 503, never a final refusal."""
    asked.expect(with_body(asked, **members), "UNREADABLE_OPERATION", TRY_AGAIN)


def test_an_unknown_member_or_form_of_amount_is_kept(asked: Asked) -> None:
    """The operation is claimed, and the evidence has the members that could not be parsed."""
    amount = {"nanos": 5, "units": "12"}
    answer = asked.expect(with_body(asked, amount=amount, flavour="new"), "VERIFIED", None, "NEW")
    assert ("", '{"nanos":5,"units":"12"}') == (answer.operation.amount.amount, answer.operation.amount_json)
    by_id = wallet_pb2.GetWalletEvidenceRequest(operation_id=answer.operation_id)
    assert b'"flavour":"new"' in asked.wallet.GetWalletEvidence(by_id).evidence.request_body


def test_HELD_SUSPECT_REPLAY(asked: Asked) -> None:
    """The same signed body under another key, where the operator holds it: 503 each time; kept and counted."""
    body = {
        "operation": "credit_cash",
        "player": {"external_id": f"player-{uuid.uuid4()}"},
        "currency_code": "EUR",
        "amount": {"value": "5.00"},
        "references": {"claim_side": "yes"},
    }
    first = signed(asked.sandbox, body=body)
    asked.expect(first, "VERIFIED", None, "NEW")
    second = signed(asked.sandbox, body=body)
    asked.expect(second, "HELD_SUSPECT_REPLAY", TRY_AGAIN)
    held = asked.expect(second, "HELD_SUSPECT_REPLAY", TRY_AGAIN)
    assert (True, 0) == (held.suspect_replay, held.attempt)
    by_id = wallet_pb2.GetWalletEvidenceRequest(operation_id=held.operation_id)
    evidence = asked.wallet.GetWalletEvidence(by_id).evidence
    assert wallet_pb2.WALLET_OPERATION_STATE_HELD == evidence.state
    assert second.raw_body == evidence.request_body
    asked.expect(first, "VERIFIED", (409, JSON, b'{"error":"in_progress"}', False), "IN_PROGRESS")


def test_a_capture_is_never_held(asked: Asked) -> None:
    """Two equal partial captures of one order are two moves: flagged, and done."""
    captures = [with_body(asked, operation="capture_cash", player={"external_id": "p-capture"}) for _ in range(2)]
    answers = [asked.expect(capture, "VERIFIED", None, "NEW") for capture in captures]
    assert [False, True] == [answer.suspect_replay for answer in answers]


def test_STORE_UNAVAILABLE(own_sandbox: SandboxProcess) -> None:
    """The claim cannot be made durable: 503, and no operation. What needs no claim is answered."""
    settings = of_sandbox(own_sandbox.urls, own_sandbox.environ)
    settings["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    process = GatewayProcess(settings)
    process.starts_ready = False
    with process as gateway:
        for asked in asked_of(gateway, own_sandbox):
            answer = asked.expect(asked.move(), "STORE_UNAVAILABLE", TRY_AGAIN)
            assert ("", 0) == (answer.operation_id, answer.attempt)
            asked.expect(signed(own_sandbox, route="balance", operation="balance"), "VERIFIED", None, "NOT_A_MOVE")
            asked.expect(asked.move(forge="bit"), "BAD_SIGNATURE", BAD_SIGNATURE_REPLY)
