"""The example wallet in the cases that Phoenix's documents name (prediction.md 5.7), sent by the sandbox."""

from __future__ import annotations

import base64
import socket
import uuid

import pytest

from tests.examples.player import Player, assert_done_once, entries
from tests.examples.wallet_process import WalletProcess
from tests.gateway_process import GatewayProcess
from tests.sandbox_process import SandboxProcess


@pytest.fixture
def player(sandbox: SandboxProcess, wallet: WalletProcess) -> Player:
    return Player(sandbox, wallet)


def test_a_valid_reserve(player: Player, wallet: WalletProcess, short_leases: GatewayProcess) -> None:
    """Available decreases, reserved increases. The answer shows it, and the outcome has the wallet's ids."""
    report = player.send("reserve_cash", "12.50", "r-" + player.name)
    assert (200, "success", ("87.50", "12.50")) == (report["status"], report["treatment"], player.funds)
    assert ("87.50", "12.50") == (report["answer"]["available"], report["answer"]["reserved"])
    evidence = assert_done_once(short_leases, wallet, "reserve_cash", report["idempotency_key"])
    assert report["answer"]["transaction_id"] == evidence.operator_transaction_id
    assert "" != evidence.operator_reservation_id
    assert ("87.50", "12.50") == (evidence.available_balance.amount, evidence.reserved_balance.amount)


def test_a_duplicate_reserve(player: Player, wallet: WalletProcess) -> None:
    """The same key again gets the same bytes, and moves nothing."""
    key = str(uuid.uuid4())
    first, second = (player.send("reserve_cash", "12.50", key) for _ in range(2))
    assert (first["status"], first["body_base64"]) == (second["status"], second["body_base64"])
    assert (("87.50", "12.50"), 1) == (player.funds, len(entries(wallet, key)))


def test_an_underfunded_reserve(player: Player, wallet: WalletProcess, short_leases: GatewayProcess) -> None:
    """422 problem+json `insufficient_funds`; the refusal is the key's answer, also when there is money later."""
    key = str(uuid.uuid4())
    report = player.send("reserve_cash", "100.01", key)
    assert ("rejected", "insufficient_funds") == (report["treatment"], report["answer"]["code"])
    assert "application/problem+json" == report["attempts"][0]["content_type"]
    player.send("credit_cash", "50")
    again = player.send("reserve_cash", "100.01", key)
    assert report["body_base64"] == again["body_base64"]
    assert "application/problem+json" == again["attempts"][0]["content_type"]
    assert ("150.00", "0") == player.funds
    assert_done_once(short_leases, wallet, "reserve_cash", key)


@pytest.mark.parametrize("forge", ["bit", "body", "operator_key", "missing", "padded"])
def test_a_forged_reserve(player: Player, wallet: WalletProcess, forge: str) -> None:
    """401, and nothing changes."""
    report = player.send("reserve_cash", "12.50", forge=forge)
    assert (401, "terminal", ("100.00", "0")) == (report["status"], report["treatment"], player.funds)
    assert [] == entries(wallet, report["idempotency_key"])


def test_a_malformed_reserve(player: Player) -> None:
    """400, and nothing changes."""
    report = player.ask(raw_base64=base64.b64encode(b"[1]").decode(), idempotency_key=str(uuid.uuid4()))
    assert (400, ("100.00", "0")) == (report["status"], player.funds)


def test_partial_captures_and_their_duplicate(player: Player, wallet: WalletProcess) -> None:
    """Reserved goes down by each part, once; available stays."""
    player.send("reserve_cash", "12.50")
    key = str(uuid.uuid4())
    reports = [player.send("capture_cash", "5.25", key) for _ in range(2)]
    assert [200, 200] == [report["status"] for report in reports]
    assert ("87.50", "7.25") == player.funds
    assert 200 == player.send("capture_cash", "7.25")["status"]
    assert ("87.50", "0.00") == player.funds


def test_a_release_after_cancel_and_its_duplicate(player: Player) -> None:
    """What was not captured comes back, once."""
    player.send("reserve_cash", "12.50")
    player.send("capture_cash", "2.50")
    key = str(uuid.uuid4())
    reports = [player.send("release_cash", "10.00", key) for _ in range(2)]
    assert [200, 200] == [report["status"] for report in reports]
    assert ("97.50", "0.00") == player.funds


@pytest.mark.parametrize("operation", ["capture_cash", "release_cash"])
def test_above_the_reservation(player: Player, operation: str) -> None:
    """Captures plus releases above the order's reservation: 422, and nothing changes."""
    player.send("reserve_cash", "12.50")
    player.send("capture_cash", "10.00")
    report = player.send(operation, "2.51")
    assert (422, "reservation_exceeded") == (report["status"], report["answer"]["code"])
    assert ("87.50", "2.50") == player.funds


@pytest.mark.parametrize(
    "references",
    [{"claim_side": "yes"}, {"taker_order_id": "a", "maker_order_id": "b"}, {}],
    ids=["payout", "trade", "-"],
)
def test_a_credit_and_its_duplicate(player: Player, references: dict[str, str]) -> None:
    """Available goes up, once, whatever the credit refers to."""
    key = str(uuid.uuid4())
    reports = [player.send("credit_cash", "3.10", key, references=references) for _ in range(2)]
    assert ([200, 200], ("103.10", "0")) == ([report["status"] for report in reports], player.funds)


def test_a_credit_without_an_account_is_not_refused_finally(player: Player) -> None:
    """A payout without an account gets 503, because an operator must decide."""
    report = player.send("credit_cash", "3.10", player=f"stranger-{uuid.uuid4()}")
    assert (503, "retry") == (report["status"], report["treatment"])


def test_a_capture_that_overtakes_its_reserve(player: Player) -> None:
    """503 while there is no reservation; done when there is."""
    key = str(uuid.uuid4())
    assert 503 == player.send("capture_cash", "5", key)["status"]
    player.send("reserve_cash", "5")
    assert "success" == player.send("capture_cash", "5", key, retries=60, pause_ms=100)["treatment"]
    assert ("95.00", "0") == player.funds


def test_a_key_with_other_content(player: Player) -> None:
    """The gateway's 422 is sent unchanged, and no money moves."""
    key = str(uuid.uuid4())
    player.send("reserve_cash", "12.50", key)
    report = player.send("reserve_cash", "12.51", key)
    assert (422, "idempotency_conflict") == (report["status"], report["answer"]["code"])
    assert ("87.50", "12.50") == player.funds


def test_an_amount_of_unknown_form(player: Player) -> None:
    """A whole number may be cents or not: 503, and nothing moves."""
    report = player.send("reserve_cash", {"value": 1250})
    assert (503, ("100.00", "0")) == (report["status"], player.funds)


def test_a_balance(player: Player) -> None:
    """Available and reserved, and no move."""
    player.send("reserve_cash", "12.50")
    answer = player.ask(route="balance")["answer"]
    assert ("87.50", "12.50", "EUR") == (answer["available"], answer["reserved"], answer["currency_code"])


def test_a_probe(player: Player) -> None:
    """Answered as the move was: done, refused, or not seen, which no reader can take for done."""
    done = player.send("reserve_cash", "12.50")
    refused = player.send("reserve_cash", "1000")
    for report in (done, refused):
        probe = player.ask(route="status", idempotency_key=report["idempotency_key"], amount="12.50")
        assert (report["status"], report["body_base64"]) == (probe["status"], probe["body_base64"])
    assert 404 == player.ask(route="status", idempotency_key=str(uuid.uuid4()))["status"]
    assert ("87.50", "12.50") == player.funds


def test_no_gateway_is_503(sandbox: SandboxProcess) -> None:
    """Forged or genuine: without the gateway there is no verdict."""
    with WalletProcess("127.0.0.1:1") as alone:
        player = Player(sandbox, alone)
        assert [503, 503] == [player.send("reserve_cash", "1", forge=forge)["status"] for forge in ("none", "bit")]
        assert ("100.00", "0") == player.funds


@pytest.mark.parametrize(
    "oddity",
    [
        "repeated_signature",
        "repeated_key",
        "folded_key",
        "blanks",
        "long_header",
        "many_headers",
        "not_ascii",
        "trailing_slash",
        "double_slash",
        "dot_segment",
        "long_query",
    ],
)
def test_the_wallets_own_server_refuses_nothing_harmless(player: Player, oddity: str) -> None:
    """What a proxy added or changed: the money moves once, under Phoenix's own key."""
    key = str(uuid.uuid4())
    odd = player.send("reserve_cash", "12.50", key, oddities=[oddity])
    plain = player.send("reserve_cash", "12.50", key)
    assert (200, odd["body_base64"], ("87.50", "12.50")) == (odd["status"], plain["body_base64"], player.funds)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /wallet/transactions HTTP/1.1\r\nHost: w\r\nCookie: " + b"c" * 70_000 + b"\r\n\r\n",
        b"POST /wallet/transactions HTTP/1.1\r\nHost: w\r\n" + b"X-Hop: 1\r\n" * 1100 + b"\r\n",
        b"POST /wallet/transactions?" + b"q" * 70_000 + b" HTTP/1.1\r\nHost: w\r\n\r\n",
        b"POST /wallet/transactions HTTP/1.1\r\nHost: w\r\nContent-Length: x\r\n\r\n",
        b"POST /wallet/transactions HTTP/1.1\r\nHost: w\r\nbad header: \x01\r\n\r\n",
        b"POST /elsewhere HTTP/1.1\r\nHost: w\r\nSignature: " + b"A" * 86 + b"\r\nContent-Length: 1048577\r\n\r\n"
        + b"b" * 1_048_577,
    ],
    ids=["header", "headers", "line", "length", "name", "body"],
)  # fmt: skip
def test_what_the_wallets_server_cannot_read_is_no_final_refusal(wallet: WalletProcess, head: bytes) -> None:
    """503, where a server's own habit is 400."""
    host, port = wallet.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(12).split()[1] == b"503"
