"""Every verdict and every disposition by its own name: how it comes about, the exact reply, the metric's label.

The replies are API.md's, written out here, not the code's. Phoenix takes 400, 401 and 403 as final.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.core.wallet_verdict import Disposition, Verdict
from gateway.v1 import common_pb2, wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_wallet import outcome, signed
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


@pytest.fixture(scope="module")
def own_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture(scope="module")
def serving(own_sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that holds all operations that can be held, and fetches the key often."""
    settings = of_sandbox(own_sandbox.urls, own_sandbox.environ)
    settings["PREDICTION_HOLD_SUSPECT_REPLAYS"] = "reserve_cash,release_cash,credit_cash"
    settings["PREDICTION_KEY_COOLDOWN"] = "0.2"
    with GatewayProcess(settings) as process:
        process.wait_serving(WALLET)
        yield process


def asked_of(gateway: GatewayProcess, sandbox: SandboxProcess) -> Iterator[Asked]:
    sandbox.control("POST", "/reset", {})
    with grpc.insecure_channel(gateway.address) as channel:
        yield Asked(gateway=gateway, sandbox=sandbox, wallet=wallet_pb2_grpc.WalletServiceStub(channel))


@pytest.fixture
def asked(serving: GatewayProcess, own_sandbox: SandboxProcess) -> Iterator[Asked]:
    yield from asked_of(serving, own_sandbox)


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


def test_every_name_has_its_test() -> None:
    """No verdict and no disposition without one below."""
    named = {name.removeprefix("test_") for name in vars(sys.modules[__name__]) if name.startswith("test_")}
    assert {one.value for one in (*Verdict, *Disposition)} <= named


def test_every_series_is_there_from_the_start(asked: Asked) -> None:
    """An alert sees the first of each."""
    there = asked.counted()
    wanted = {(verdict.value, "") for verdict in Verdict if verdict is not Verdict.VERIFIED}
    wanted |= {("VERIFIED", disposition.value) for disposition in Disposition}
    assert {(environment, *one) for environment in ("sandbox", "prod") for one in wanted} <= set(there)


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


def rsa_pem() -> str:
    """A public key of another kind than Phoenix's."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


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
    asked.sandbox.control("POST", "/keys/rotate", {})
    genuine = asked.move()
    asked.sandbox.control("POST", "/faults", {"surface": "prediction", "path_prefix": "/.well-known", **trouble})
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


@pytest.mark.parametrize(("forge", "verdict"), [("none", "VERIFIED"), ("bit", "BAD_SIGNATURE")])
def test_a_call_is_logged_with_what_phoenix_asks_for(asked: Asked, forge: str, verdict: str) -> None:
    """The line has Phoenix's request id, the environment, and the verdict with the key that it was made with."""
    request = asked.move(forge=forge)
    asked.wallet.VerifyWallet(request)
    request_id = next(header.value for header in request.headers if header.name == "x-request-id")
    line = logged(asked, request_id)
    assert ("sandbox", "acme", verdict) == (line["environment"], line["operator"], line["verdict"])
    assert line["key_id"]


def test_odd_headers_are_counted_and_logged(asked: Asked) -> None:
    """Another provider, an odd request id, a key on a balance call: none is a ground to refuse."""
    request = signed(asked.sandbox, route="balance", operation="balance", idempotency_key="unexpected")
    request_id = f"odd-{uuid.uuid4()}"
    for header in request.headers:
        if header.name == "x-provider":
            header.value = "somebody-else"
        if header.name == "x-request-id":
            header.value = request_id
    asked.expect(request, "VERIFIED", None, "NOT_A_MOVE")
    line = logged(asked, request_id)
    assert ("BALANCE_KEY PROVIDER REQUEST_ID", "somebody-else") == (line["odd_headers"], line["provider"])
    with urlopen(f"http://{asked.gateway.admin_address}/metrics", timeout=5) as page:
        text = page.read().decode()
    for kind in ("BALANCE_KEY", "PROVIDER", "REQUEST_ID"):
        assert re.search(rf'odd_headers_total{{kind="{kind}"}} [1-9]', text)
