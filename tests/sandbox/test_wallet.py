"""Wallet webhooks: signatures, forgeries and the treatment of answers, with a real server."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from gateway.sandbox.signatures import load_public_key, verify_ed25519
from gateway.sandbox.wallet_webhooks import request_id
from tests.sandbox_process import SandboxProcess

Answering = Callable[[web.Request, int], web.Response]


class Wallet:
    """An operator's server: keeps its requests and answers as the test wants (calls count from 0)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Answering = lambda request, number: web.json_response({"available": "1.00"})
        self.waits: set[int] = set()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Keep one call and answer it."""
        number = len(self.calls)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append((request.path, headers, await request.read()))
        if number in self.waits:
            await asyncio.Event().wait()
        return self.answer(request, number)


@pytest.fixture
async def wallet() -> AsyncIterator[Wallet]:
    """A wallet on a free port."""
    made = Wallet()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def sign(sandbox: SandboxProcess, **wish: Any) -> dict[str, Any]:
    """Return a signed webhook with its body decoded as `raw` and its headers by name."""
    made = sandbox.control("POST", "/wallet/sign", wish)
    return {**made, "raw": base64.b64decode(made["body_base64"]), "by_name": dict(made["headers"])}


def holds(sandbox: SandboxProcess, made: dict[str, Any]) -> bool:
    """Tell whether the current platform key verifies a webhook."""
    key = load_public_key(sandbox.control("GET", "/keys")["current"])
    return verify_ed25519(key, made["by_name"].get("signature", ""), made["raw"])


@pytest.mark.parametrize(
    ("route", "path", "operation", "has_key"),
    [
        ("transactions", "/wallet/transactions", "reserve_cash", True),
        ("status", "/wallet/transactions/status", "transaction_status", True),
        ("balance", "/wallet/balance", "balance", False),
    ],
)
def test_each_route_has_its_headers(
    sandbox: SandboxProcess, route: str, path: str, operation: str, has_key: bool
) -> None:
    """Lower-case headers, a UUIDv7 per attempt, the key only on the two transaction routes, a valid signature."""
    made = sign(sandbox, route=route)
    body, names = json.loads(made["raw"]), made["by_name"]
    assert (path, operation, has_key) == (made["path"], body["operation"], "idempotency-key" in names)
    assert {"content-type", "x-provider", "x-request-id", "signature"} == set(names) - {"idempotency-key"}
    assert ("phoenix-prediction-market", 7) == (names["x-provider"], uuid.UUID(names["x-request-id"]).version)
    assert ("op-acme", "sandbox") == (body["operator_id"], body["environment"])
    assert holds(sandbox, made)


def test_move_body_holds_what_was_asked(sandbox: SandboxProcess) -> None:
    """Player, currency, amount, references and key are the caller's."""
    wish = {"operation": "credit_cash", "player": "p9", "currency": "USD", "amount": "3.10", "idempotency_key": "k1"}
    body = json.loads(sign(sandbox, **wish)["raw"])
    assert {"external_id": "p9"} == body["player"]
    assert ("USD", {"value": "3.10"}, "k1") == (body["currency_code"], body["amount"], body["idempotency_key"])
    assert {"claim_side": "yes"} == body["references"]


def test_uncertain_members_are_settings(sandbox: SandboxProcess) -> None:
    """Key, operator and environment can be left out; an amount can be scaled."""
    names = ("wallet_body_key", "wallet_body_operator", "wallet_body_environment")
    sandbox.control("POST", "/settings", {**dict.fromkeys(names, False), "wallet_amount": "scaled"})
    body = json.loads(sign(sandbox, amount="12.50")["raw"])
    assert set() == {"idempotency_key", "operator_id", "environment"} & set(body)
    assert {"value": 1250, "scale": 2} == body["amount"]


def test_raw_bytes_and_objects_are_signed_as_they_are(sandbox: SandboxProcess) -> None:
    """A body that is no JSON can be signed too; a null key leaves the header out."""
    raw = base64.b64encode(b"\xff not json").decode()
    made = sign(sandbox, raw_base64=raw, idempotency_key=None)
    assert (b"\xff not json", True, False) == (
        made["raw"], holds(sandbox, made), "idempotency-key" in made["by_name"]
    )  # fmt: skip
    assert b'{"a":1}' == sign(sandbox, body={"a": 1})["raw"]


@pytest.mark.parametrize("forge", ["bit", "body", "operator_key", "old_key", "missing", "padded"])
def test_forgeries_do_not_hold(sandbox: SandboxProcess, forge: str) -> None:
    """Each kind is refused by the strict check."""
    sandbox.control("POST", "/keys/rotate", {})
    made = sign(sandbox, forge=forge)
    assert not holds(sandbox, made)
    assert (forge == "missing") == ("signature" not in made["by_name"])


def test_a_repeated_signature_is_sent_twice(sandbox: SandboxProcess) -> None:
    """Both are good, which is the point."""
    names = [name for name, _ in sign(sandbox, oddities=["repeated_signature"])["headers"]]
    assert 2 == names.count("signature")


def test_old_key_needs_a_rotation(sandbox: SandboxProcess) -> None:
    """Before one there is none to forge with."""
    sandbox.control("POST", "/reset", {"keys": True})
    with pytest.raises(AssertionError, match="needs a rotation"):
        sign(sandbox, forge="old_key")


def test_request_ids_are_uuid_version_7() -> None:
    """Version and variant bits, and no two alike."""
    made = {uuid.UUID(request_id()) for _ in range(1000)}
    assert ({7}, {uuid.RFC_4122}, 1000) == ({u.version for u in made}, {u.variant for u in made}, len(made))


async def send(sandbox: SandboxProcess, wallet: Wallet, **wish: Any) -> dict[str, Any]:
    """Have the sandbox send a webhook to the wallet."""
    reported: dict[str, Any] = await sandbox.control_async(
        "POST", "/wallet/send", {"target": wallet.url, "pause_ms": 1, **wish}
    )
    return reported


@pytest.mark.parametrize(
    ("status", "treatment"),
    [(200, "success"), (422, "rejected"), (400, "terminal"), (401, "terminal"), (403, "terminal")],
)
async def test_final_answers_end_the_matter(
    sandbox: SandboxProcess, wallet: Wallet, status: int, treatment: str
) -> None:
    """One attempt, whatever retries are left; the answer comes back byte for byte."""
    wallet.answer = lambda request, number: web.Response(status=status, body=b'{"a": 1}')
    reported = await send(sandbox, wallet, retries=3)
    assert (status, treatment, False, 1) == (
        reported["status"],
        reported["treatment"],
        reported["gave_up"],
        len(wallet.calls),
    )
    assert b'{"a": 1}' == base64.b64decode(reported["body_base64"])


async def test_long_answer_comes_back_whole(sandbox: SandboxProcess, wallet: Wallet) -> None:
    """Also one that arrives in many pieces."""
    long = bytes(range(256)) * 1200
    wallet.answer = lambda request, number: web.Response(body=long)
    assert long == base64.b64decode((await send(sandbox, wallet))["body_base64"])


@pytest.mark.parametrize("status", [409, 503])
async def test_retry_keeps_key_and_body_and_takes_a_new_request_id(
    sandbox: SandboxProcess, wallet: Wallet, status: int
) -> None:
    """409 and 503 lead to another attempt of the same move."""
    wallet.answer = lambda request, number: web.json_response({}, status=status if number < 2 else 200)
    reported = await send(sandbox, wallet, retries=5)
    assert (["retry", "retry", "success"], []) == (
        [each["treatment"] for each in reported["attempts"]],
        reported["probes"],
    )
    assert 1 == len({(headers["idempotency-key"], headers["signature"], body) for _, headers, body in wallet.calls})
    assert 3 == len({headers["x-request-id"] for _, headers, _ in wallet.calls})


async def test_retries_end(sandbox: SandboxProcess, wallet: Wallet) -> None:
    """After the last attempt, the result is "gave up"."""
    wallet.answer = lambda request, number: web.json_response({}, status=503)
    reported = await send(sandbox, wallet, retries=2)
    assert (3, True) == (len(wallet.calls), reported["gave_up"])


@pytest.mark.parametrize(("state", "attempts"), [("completed", 1), ("not_found", 2)])
async def test_timeout_is_probed_with_the_original_key(
    sandbox: SandboxProcess, wallet: Wallet, state: str, attempts: int
) -> None:
    """The probe repeats the envelope on the status route; only a settled state ends the matter."""
    wallet.waits = {0}
    wallet.answer = lambda request, number: web.json_response({"status": state})
    reported = await send(sandbox, wallet, timeout_s=0.3, retries=2)
    assert ("timeout", attempts, "success") == (
        reported["attempts"][0]["error"], len(reported["attempts"]), reported["treatment"]
    )  # fmt: skip
    (_, move, body), (path, probe, probe_body) = wallet.calls[:2]
    assert "/wallet/transactions/status" == path
    assert move["idempotency-key"] == probe["idempotency-key"]
    assert {**json.loads(body), "operation": "transaction_status"} == json.loads(probe_body)


async def test_wallet_that_is_not_there_is_no_answer(sandbox: SandboxProcess) -> None:
    """A missing connection is retried, then "gave up"."""
    reported = await sandbox.control_async(
        "POST", "/wallet/send", {"target": "http://127.0.0.1:1", "probe": False, "retries": 1, "pause_ms": 1}
    )
    assert (None, True, 2) == (reported["status"], reported["gave_up"], len(reported["attempts"]))


@pytest.mark.parametrize(
    "wish",
    [
        {"target": "http://192.0.2.1"},
        {"target": "ftp://127.0.0.1"},
        {},
        {"target": "http://127.0.0.1:1", "retry": 1},
        {"target": "https://127.0.0.1:1", "ca_file": "/nowhere"},
        {"target": "http://127.0.0.1:1", "forge": "magic"},
    ],
    ids=json.dumps,
)
def test_send_that_makes_no_sense_is_refused(sandbox: SandboxProcess, wish: dict[str, Any]) -> None:
    """Plain HTTP leaves loopback never; unknown members are named."""
    with pytest.raises(AssertionError, match="400"):
        sandbox.control("POST", "/wallet/send", wish)
