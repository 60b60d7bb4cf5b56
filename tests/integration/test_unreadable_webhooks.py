"""A signed webhook that the gateway cannot read: it raises an alert, a person sees it and settles it, and no money is
moved twice, also if a later setting makes the webhook readable.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.gateway_command import evidence_command
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.integration.test_wallet import signed
from tests.sandbox_process import SandboxProcess

V = wallet_pb2.WalletVerdict
D = wallet_pb2.WalletDisposition
WALLET = "phoenix.gateway.v1.WalletService"
SETTLED = b'{"type":"SUCCESS","available":"112.50"}'
UNREADABLE = V.WALLET_VERDICT_UNREADABLE_OPERATION


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A gateway, its sandbox, and a stub."""

    gateway: GatewayProcess
    sandbox: SandboxProcess
    wallet: wallet_pb2_grpc.WalletServiceStub

    def webhook(self, key: str, player: str, route: str = "transactions", **members: Any) -> Any:
        """A credit whose player is where this gateway does not look."""
        body = {
            "operation": "credit_cash",
            "customer": {"id": player},
            "currency_code": "EUR",
            "amount": {"value": "12.50"},
            **members,
        }
        return signed(self.sandbox, body=body, idempotency_key=key, route=route)

    def probe(self, key: str) -> wallet_pb2.VerifyWalletResponse:
        """Ask for the state of the move with this key."""
        return self.wallet.VerifyWallet(
            signed(self.sandbox, route="status", operation="transaction_status", idempotency_key=key)
        )

    def listed(self, key: str, **options: Any) -> list[wallet_pb2.UnreadableWebhook]:
        """The unreadable webhooks with this key, over pages of one."""
        request = wallet_pb2.ListUnreadableWebhooksRequest(page_size=1, **options)
        found: list[wallet_pb2.UnreadableWebhook] = []
        while True:
            page = self.wallet.ListUnreadableWebhooks(request)
            found += page.webhooks
            if not page.next_page_token:
                return [one for one in found if one.idempotency_key == key]
            request.page_token = page.next_page_token

    def settle(self, listed: wallet_pb2.UnreadableWebhook, **changes: Any) -> wallet_pb2.UnreadableWebhook:
        """Settle it as booked."""
        values: dict[str, Any] = {
            "webhook_id": listed.webhook_id,
            "request_body_sha256": listed.request_body_sha256,
            "response_status": 200,
            "response_body": SETTLED,
            "note": "booked by hand, ticket 7",
            **changes,
        }
        request = wallet_pb2.SettleUnreadableWebhookRequest(**values)
        return self.wallet.SettleUnreadableWebhook(request).webhook

    def counted(self, state: str) -> float:
        """How many unreadable webhooks were counted in this state."""
        with urlopen(f"http://{self.gateway.admin_address}/metrics", timeout=5) as page:
            text = page.read().decode()
        found = re.search(rf'unreadable_webhooks_total{{environment="sandbox",state="{state}"}} (\S+)', text)
        assert found is not None
        return float(found[1])


@pytest.fixture(scope="module")
def own_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process


@pytest.fixture(scope="module")
def serving(own_sandbox: SandboxProcess) -> Iterator[Serving]:
    with GatewayProcess(of_sandbox(own_sandbox.urls, own_sandbox.environ)) as process:
        process.wait_serving(WALLET)
        with grpc.insecure_channel(process.address) as channel:
            stub = wallet_pb2_grpc.WalletServiceStub(channel)
            yield Serving(gateway=process, sandbox=own_sandbox, wallet=stub)


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


def wait_until(check: Any) -> None:
    """Wait until it holds: counts and log lines come a moment after the answer."""
    until = time.monotonic() + 5
    while not check():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_raises_an_alert_and_is_listed_with_its_hash(serving: Serving, key: str) -> None:
    """503 for Phoenix; a metric; one error line that says what to do; the body and the reason in the list."""
    request, before = serving.webhook(key, key), serving.counted("waiting")
    sha256 = hashlib.sha256(request.raw_body).hexdigest()
    for _ in range(2):
        answer = serving.wallet.VerifyWallet(request)
        assert (UNREADABLE, 503, sha256) == (answer.verdict, answer.reply.status, answer.request_body_sha256)
    wait_until(lambda: serving.counted("waiting") == before + 2)
    (found,) = serving.listed(key)
    assert (sha256, request.raw_body, 1) == (found.request_body_sha256, found.request_body, found.count)
    assert ("a player or currency that is missing or not plain text", False) == (
        found.trouble,
        found.HasField("settlement"),
    )
    wait_until(lambda: serving.gateway.log_text.count(f'"webhook_sha256":"{sha256}"') == 2)
    lines = [json.loads(line) for line in serving.gateway.log_text.splitlines() if sha256 in line]
    assert ["error", "warning"] == [line["level"] for line in lines]
    assert "evidence list --unreadable" in lines[0]["advice"]
    assert key not in serving.gateway.log_text


def test_the_same_body_under_many_keys_adds_few_rows(serving: Serving, key: str) -> None:
    """The key is not signed: a captured body cannot fill the store, nor keep claims from it."""
    requests = [serving.webhook(f"{key}-{number}", key) for number in range(30)]
    for request in requests:
        serving.wallet.VerifyWallet(request)
    found = [one for number in range(30) for one in serving.listed(f"{key}-{number}")]
    assert 1 <= len(found) <= 3


def test_a_settled_webhook_is_answered_so_from_then_on(serving: Serving, key: str) -> None:
    """The same settlement again is fine; another one is refused; the list no longer shows it."""
    request, before = serving.webhook(key, key), serving.counted("settled")
    serving.wallet.VerifyWallet(request)
    (found,) = serving.listed(key)
    settled = serving.settle(found)
    assert (200, SETTLED, "booked by hand, ticket 7") == (
        settled.settlement.response.status,
        settled.settlement.response.body,
        settled.settlement.note,
    )
    assert settled == serving.settle(found, note="again")
    answer = serving.wallet.VerifyWallet(request)
    assert (UNREADABLE, 200, SETTLED) == (answer.verdict, answer.reply.status, answer.reply.body)
    wait_until(lambda: serving.counted("settled") == before + 1)
    with pytest.raises(grpc.RpcError) as refused:
        serving.settle(found, response_status=422)
    assert "OUTCOME_DIFFERS" == reason_of(refused.value)
    assert ([], 1) == (serving.listed(key), len(serving.listed(key, include_settled=True)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"request_body_sha256": "0" * 64}, "PHOENIX_NOT_FOUND"),
        ({"webhook_id": "0190"}, "PHOENIX_NOT_FOUND"),
        ({"response_status": 409}, "INVALID_FIELD"),
        ({"response_status": 429}, "INVALID_FIELD"),
        ({"response_status": 503}, "INVALID_FIELD"),
        ({"note": ""}, "INVALID_FIELD"),
    ],
)
def test_a_wrong_settlement_is_refused(serving: Serving, changes: dict[str, Any], reason: str) -> None:
    """Another body, an unknown id, an answer that would make Phoenix try for ever, no reason given."""
    key = str(uuid.uuid4())
    serving.wallet.VerifyWallet(serving.webhook(key, key))
    (found,) = serving.listed(key)
    with pytest.raises(grpc.RpcError) as refused:
        serving.settle(found, **changes)
    assert reason == reason_of(refused.value)


def test_a_probe_never_says_that_an_unreadable_move_was_not_seen(serving: Serving, key: str) -> None:
    """NOT_SEEN could make Phoenix replace a move that a person is about to book."""
    states = wallet_pb2.WalletOriginalState
    assert states.WALLET_ORIGINAL_STATE_NOT_SEEN == serving.probe(key).original_state
    serving.wallet.VerifyWallet(serving.webhook(key, key))
    assert states.WALLET_ORIGINAL_STATE_IN_PROGRESS == serving.probe(key).original_state
    serving.settle(serving.listed(key)[0])
    finished = serving.probe(key)
    assert (states.WALLET_ORIGINAL_STATE_FINISHED, SETTLED) == (
        finished.original_state,
        finished.recorded_response.body,
    )


def test_an_unreadable_probe_does_not_hide_that_its_move_was_not_seen(serving: Serving, key: str) -> None:
    """Only what may be a move counts."""
    odd = serving.webhook(key, key, route="status", operation="transaction_status", original_operation="burn_cash")
    assert UNREADABLE == serving.wallet.VerifyWallet(odd).verdict
    assert wallet_pb2.WALLET_ORIGINAL_STATE_NOT_SEEN == serving.probe(key).original_state


def test_a_settled_webhook_never_becomes_a_move(serving: Serving, own_sandbox: SandboxProcess) -> None:
    """A setting makes both readable: the settled one is a replay of the person's answer, the other one is NEW."""
    settled_key, waiting_key = str(uuid.uuid4()), str(uuid.uuid4())
    settled_webhook = serving.webhook(settled_key, settled_key)
    waiting_webhook = serving.webhook(waiting_key, waiting_key)
    for request in (settled_webhook, waiting_webhook):
        assert UNREADABLE == serving.wallet.VerifyWallet(request).verdict
    serving.settle(serving.listed(settled_key)[0])
    (waiting,) = serving.listed(waiting_key)
    environ = serving.gateway.environ | {"PREDICTION_WALLET_MEMBERS": "player=customer.id"}
    for name in ("GATEWAY_LISTEN", "GATEWAY_ADMIN_LISTEN"):
        del environ[name]
    with GatewayProcess(environ) as later, grpc.insecure_channel(later.address) as channel:
        later.wait_serving(WALLET)
        wallet = wallet_pb2_grpc.WalletServiceStub(channel)
        answers = [wallet.VerifyWallet(settled_webhook) for _ in range(2)]
        for answer in answers:
            assert (D.WALLET_DISPOSITION_REPLAY, 200, SETTLED) == (
                answer.disposition,
                answer.reply.status,
                answer.reply.body,
            )
        by_id = wallet_pb2.GetWalletEvidenceRequest(operation_id=answers[0].operation_id)
        evidence = wallet.GetWalletEvidence(by_id).evidence
        assert (wallet_pb2.WALLET_OPERATION_STATE_FINISHED, 1) == (evidence.state, evidence.attempt)
        assert D.WALLET_DISPOSITION_NEW == wallet.VerifyWallet(waiting_webhook).disposition
    assert [] == serving.listed(waiting_key)
    with pytest.raises(grpc.RpcError) as refused:
        serving.settle(waiting)
    assert "OUTCOME_DIFFERS" == reason_of(refused.value)


def test_a_person_lists_and_settles_with_the_command(serving: Serving, tmp_path: Path, key: str) -> None:
    """The list has what a person needs, the command settles it, and nothing raw reaches the terminal."""
    player = f"{key}\x1b]0;owned\x07\x9b31m"
    body = b'{"operation":"credit_cash","customer":{"id":' + json.dumps(player, ensure_ascii=False).encode() + b"}}"
    request = signed(serving.sandbox, raw_base64=base64.b64encode(body).decode(), idempotency_key=key)
    assert UNREADABLE == serving.wallet.VerifyWallet(request).verdict
    target = ("--target", serving.gateway.address)
    shown = evidence_command("list", "--unreadable", *target)
    (found,) = serving.listed(key)
    assert 0 == shown.returncode, shown.stderr
    assert all(text in shown.stdout for text in (found.webhook_id, found.request_body_sha256, key, found.trouble))
    assert not {"\x1b", "\x07", "\x9b"} & set(shown.stdout)
    as_json = evidence_command("list", "--unreadable", "--json", *target)
    assert key in [one["idempotency_key"] for one in json.loads(as_json.stdout)]
    assert not {"\x1b", "\x07", "\x9b"} & set(as_json.stdout)
    answer = tmp_path / "answer.json"
    answer.write_bytes(SETTLED)
    options = ("--sha256", found.request_body_sha256, "--status", "200", "--note", "booked", "--response", str(answer))
    settled = evidence_command("settle", found.webhook_id, *options, *target)
    assert 0 == settled.returncode, settled.stderr
    assert 200 == serving.wallet.VerifyWallet(request).reply.status
    assert key not in evidence_command("list", "--unreadable", *target).stdout
    assert 2 == evidence_command("list", *target).returncode
