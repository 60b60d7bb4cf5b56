"""The prediction host on real sockets: well-known keys, Operator API, launch tokens at connect."""

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.sandbox.client import Answer, Client

KEY_PATH = "/.well-known/signing-key.pem"
SETTINGS = "/operator/api/settings"
SCHEDULE = {"shape": "flat", "taker_coefficient": "0.07", "maker_rebate_coefficient": "0.01"}


async def test_well_known_key_rotates_and_counts_its_fetches(client: Client) -> None:
    """The route serves the current key; the old one stays known to control; every arrival counts."""
    first = (await client.call("prediction", "GET", KEY_PATH)).body.decode()
    rotated = client.sandbox.control("POST", "/keys/rotate", {})["public_pem"]
    client.sandbox.control("POST", "/faults", {"surface": "prediction", "kind": "status", "times": 1})
    assert 500 == (await client.call("prediction", "GET", KEY_PATH)).status
    second = (await client.call("prediction", "GET", KEY_PATH)).body.decode()
    reported = client.sandbox.control("GET", "/keys")
    assert (second, rotated, 3) == (rotated, reported["current"], reported["fetches"])
    assert first == reported["previous"][-1]
    assert "PRIVATE" not in json.dumps(reported)


async def test_a_key_of_ones_own_can_be_rotated_in(client: Client) -> None:
    """The control listener accepts a private key in PEM and refuses anything else."""
    own = client.launch_key()
    reported = client.sandbox.control("POST", "/keys/rotate", {"private_pem": client.environ["PREDICTION_LAUNCH_KEY"]})
    assert own.public_key() == load_pem_public_key(reported["public_pem"].encode())
    with pytest.raises(AssertionError, match="400"):
        client.sandbox.control("POST", "/keys/rotate", {"private_pem": "no key"})


async def test_reset_keeps_the_platform_key_by_default(client: Client) -> None:
    """{"keys": true} makes a new one."""
    before = client.sandbox.control("GET", "/keys")["current"]
    client.sandbox.control("POST", "/reset", {})
    kept = client.sandbox.control("GET", "/keys")["current"]
    client.sandbox.control("POST", "/reset", {"keys": True})
    assert (before, True) == (kept, before != client.sandbox.control("GET", "/keys")["current"])


async def test_operator_key_and_health_are_served(client: Client) -> None:
    """The operator's route holds the operator's key; /health is the literal ok; an unknown operator is 404."""
    operator = await client.call("prediction", "GET", "/o/acme" + KEY_PATH)
    assert client.launch_key().public_key() == load_pem_public_key(operator.body)
    assert b"ok" == (await client.call("prediction", "GET", "/health")).body
    assert 404 == (await client.call("prediction", "GET", "/o/nobody" + KEY_PATH)).status


async def operator_call(client: Client, method: str, value: Any = None, path: str = SETTINGS, **how: Any) -> Answer:
    """Send a signed Operator API request."""
    body = b"" if value is None else json.dumps(value).encode()
    return await client.call("prediction", method, path, body, client.operator_headers(method, path, body, **how))


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_fee_schedule_is_set_and_cleared(client: Client, method: str) -> None:
    """Only fee_schedule is taken, other members are ignored, null clears."""
    changed = await operator_call(client, method, {"fee_schedule": SCHEDULE, "name": "x"})
    assert (200, SCHEDULE, "Acme") == (changed.status, changed.json()["fee_schedule"], changed.json()["name"])
    assert SCHEDULE == (await operator_call(client, method, {})).json()["fee_schedule"]
    await operator_call(client, method, {"fee_schedule": None})
    assert None is (await operator_call(client, "GET")).json()["fee_schedule"]


@pytest.mark.parametrize(
    "schedule", [{}, 1, {**SCHEDULE, "shape": "x"}, {**SCHEDULE, "taker_coefficient": 0.07}], ids=json.dumps
)
async def test_bad_fee_schedule_is_422(client: Client, schedule: object) -> None:
    """Authenticated but invalid."""
    assert 422 == (await operator_call(client, "PATCH", {"fee_schedule": schedule})).status


async def test_categories_are_the_active_ones_in_order(client: Client) -> None:
    """By display order, inactive left out; stats answer too."""
    reported = (await operator_call(client, "GET", path="/operator/api/categories")).json()["categories"]
    assert [("sports", 1), ("politics", 2)] == [(each["slug"], each["display_order"]) for each in reported]
    assert 200 == (await operator_call(client, "GET", path="/operator/api/stats")).status


@pytest.mark.parametrize(("form", "accepted"), [("six", (6,)), ("five", (5,)), ("both", (5, 6))])
async def test_signature_form_is_a_setting(client: Client, form: str, accepted: tuple[int, ...]) -> None:
    """Six parts by default; five parts or both by setting."""
    client.sandbox.control("POST", "/settings", {"operator_signature": form})
    passed = [parts for parts in (5, 6) if (await operator_call(client, "GET", parts=parts)).status == 200]
    assert accepted == tuple(passed)


@pytest.mark.parametrize("fault", ["signature", "padded", "code", "environment", "late", "missing", "body"])
async def test_operator_refusals_do_not_tell_the_step(client: Client, fault: str) -> None:
    """Whatever is wrong, the answer is one and the same."""
    headers = client.operator_headers("GET", SETTINGS, at=int(time.time()) - (400 if fault == "late" else 0))
    match fault:
        case "signature":
            headers["X-Signature"] = "A" * 86
        case "padded":
            headers["X-Signature"] += "=="
        case "code":
            headers["X-Operator-Code"] = "nobody"
        case "environment":
            headers["X-Operator-Environment"] = "prod"
        case "missing":
            del headers["X-Signature-Timestamp"]
    answer = await client.call("prediction", "GET", SETTINGS, b"x" if fault == "body" else b"", headers)
    assert (401, {"error": "unauthorized"}) == (answer.status, answer.json())


def launch_token(key: Ed25519PrivateKey, **change: Any) -> str:
    """Return a player's launch token; None leaves a claim out."""
    now = int(time.time())
    claims = {"iss": "acme", "env": "sandbox", "sub": "p1", "currency": "EUR", "iat": now, "exp": now + 60, **change}
    kept = {name: value for name, value in claims.items() if value is not None}
    pieces = [encoded(json.dumps(each).encode()) for each in ({"alg": "EdDSA", "typ": "JWT"}, kept)]
    return ".".join([*pieces, encoded(key.sign(".".join(pieces).encode()))])


def encoded(data: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"sub": None, "currency": None}, None),
        ({"typ": "visitor"}, None),
        ({"env": "production"}, "env_production"),
        ({"env": "staging"}, "unknown_env"),
        ({"env": "prod"}, "unknown_operator"),
        ({"iss": "nobody"}, "unknown_operator"),
        ({"currency": None}, "missing_currency"),
        ({"currency": "XTS"}, "unsupported_currency"),
        ({"exp": None}, "missing_exp"),
        ({"exp": 1}, "expired"),
        ({"sub": ""}, "bad_sub"),
        ({"cfg": []}, "bad_cfg"),
    ],
    ids=str,
)
async def test_launch_token_is_judged_as_at_connect(client: Client, change: dict[str, Any], reason: str | None) -> None:
    """The control listener returns the reason. The embed page accepts or refuses."""
    made = launch_token(client.launch_key(), **change)
    reported = client.sandbox.control("POST", "/tokens/verify", {"token": made, "kind": "launch"})
    assert (reason is None, reason) == (reported["ok"], reported["reason"])
    embed = await client.call("prediction", "GET", f"/o/acme?token={made}")
    assert (200 if reason is None else 403) == embed.status


async def test_launch_token_of_another_key_is_refused(client: Client) -> None:
    """Signed by a stranger, or no token at all."""
    for token, reason in ((launch_token(Ed25519PrivateKey.generate()), "bad_signature"), ("x", "malformed")):
        reported = client.sandbox.control("POST", "/tokens/verify", {"token": token})
        assert (False, reason) == (reported["ok"], reported["reason"])
