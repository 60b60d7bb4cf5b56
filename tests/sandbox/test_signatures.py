"""The sandbox's own signature checks against vectors made by another implementation, and against Wycheproof."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.sandbox import signatures

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
SIGNING: dict[str, Any] = json.loads((VECTORS / "signing.json").read_text())
SECRET = SIGNING["tenant"]["hmac_secret"]


@pytest.mark.parametrize("vector", SIGNING["requests"], ids=lambda v: f"{v['method']} {v['path']}")
def test_tenant_signature_is_the_vectors(vector: dict[str, str]) -> None:
    """Each request of the vectors gets exactly its X-Signature."""
    made = signatures.tenant_signature(
        SECRET, vector["method"], vector["path"], vector["timestamp"], vector["body"].encode()
    )
    assert vector["x_signature"] == made


def test_changed_body_has_another_signature() -> None:
    """One byte more in the body does not verify."""
    vector = SIGNING["requests"][0]
    made = signatures.tenant_signature(
        SECRET, "POST", vector["path"], vector["timestamp"], vector["body"].encode() + b" "
    )
    assert not signatures.constant_time_equal(vector["x_signature"], made)


@pytest.mark.parametrize("vector", SIGNING["websocket"], ids=lambda v: v["path"])
def test_socket_signature_is_the_vectors(vector: dict[str, str]) -> None:
    """The live socket's string has three parts."""
    assert vector["signature"] == signatures.socket_signature(SECRET, vector["path"], vector["timestamp"])


@pytest.mark.parametrize(("name", "key"), [("tenant_jwt", "hmac_secret"), ("admin_jwt", "admin_api_key")])
def test_hs256_tokens_hold_with_their_key_alone(name: str, key: str) -> None:
    """Tenant and admin tokens verify with their key, show their claims, and fail with another key."""
    parts = signatures.parse_token(SIGNING[name]["token"])
    assert parts is not None
    assert SIGNING[name]["claims"] == parts.claims
    assert [True, False] == [signatures.verify_hs256(parts, each) for each in (SIGNING["tenant"][key], "another")]


@pytest.mark.parametrize("vector", SIGNING["launch"], ids=lambda v: v["kind"])
def test_launch_tokens_hold_with_the_operator_key_alone(vector: dict[str, Any]) -> None:
    """Launch tokens verify with the operator's key and not with the platform's."""
    parts = signatures.parse_token(vector["token"])
    assert parts is not None
    assert vector["claims"] == parts.claims
    held = [signatures.verify_eddsa(parts, public_key(name)) for name in ("operator", "platform")]
    assert [True, False] == held


@pytest.mark.parametrize("vector", SIGNING["operator_api"], ids=lambda v: f"{v['method']} {v['environment']}")
def test_operator_signatures_hold_in_their_form_alone(vector: dict[str, Any]) -> None:
    """Six-part and five-part signatures verify over their own string and not over the other's."""
    arguments = (vector["timestamp"], vector["method"], vector["path"], vector["body"].encode())
    six = signatures.operator_payload(vector["operator_code"], vector["environment"], *arguments)
    five = signatures.operator_payload(vector["operator_code"], None, *arguments)
    assert vector["canonical"].encode() == six
    assert vector["older_generation"]["canonical"].encode() == five
    key, older = public_key("operator"), vector["older_generation"]["signature"]
    signed = (vector["signature"], older)
    assert [True, False] == [signatures.verify_ed25519(key, each, six) for each in signed]
    assert [False, True] == [signatures.verify_ed25519(key, each, five) for each in signed]


@pytest.mark.parametrize("vector", SIGNING["wallet"], ids=lambda v: v.get("why", "valid"))
def test_wallet_signatures_are_judged_as_the_vectors_say(vector: dict[str, Any]) -> None:
    """Good webhooks hold; padded, truncated, foreign and changed ones do not."""
    held = signatures.verify_ed25519(public_key("platform"), vector["signature"], vector["body"].encode())
    assert vector["valid"] == held
    after = signatures.verify_ed25519(public_key("platform_rotated"), vector["signature"], vector["body"].encode())
    assert vector.get("valid_after_rotation", False) == after


def test_ed25519_agrees_with_wycheproof() -> None:
    """All 151 cases get Wycheproof's result."""
    groups = json.loads((VECTORS / "wycheproof-ed25519.json").read_text())["testGroups"]
    differing = []
    for group in groups:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(group["publicKey"]["pk"]))
        for case in group["tests"]:
            text = signatures.encode_base64url(bytes.fromhex(case["sig"]))
            held = signatures.verify_ed25519(key, text, bytes.fromhex(case["msg"]))
            if held != (case["result"] == "valid"):
                differing.append(case["tcId"])
    assert [] == differing


def test_a_token_that_says_none_is_refused() -> None:
    """`alg` none, and HS256 where EdDSA belongs, hold nowhere."""
    header = signatures.encode_base64url(b'{"alg":"none"}')
    claims = signatures.encode_base64url(b'{"iss":"acme"}')
    parts = signatures.parse_token(f"{header}.{claims}.")
    assert parts is not None
    assert not signatures.verify_hs256(parts, SECRET)
    assert not signatures.verify_eddsa(parts, public_key("operator"))


@pytest.mark.parametrize(("offset", "timely"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_timestamps_hold_for_300_seconds(offset: int, timely: bool) -> None:
    """Both ends of the tolerance belong to it."""
    assert timely == signatures.is_within_tolerance(str(1_704_067_200 + offset), 1_704_067_200.9)


@pytest.mark.parametrize("text", ["", "-1", "+1704067200", "1704067200.0", " 1704067200", "١٧٠٤٠٦٧٢٠٠"])
def test_timestamps_are_plain_decimals(text: str) -> None:
    """Signs, points, spaces and foreign digits are no timestamp."""
    assert not signatures.is_within_tolerance(text, 1_704_067_200)


@pytest.mark.parametrize("text", ["AB", "AA=", "A", "A+", "A/", " AA", "", "AAAA\n"])
def test_base64url_has_one_spelling(text: str) -> None:
    """Padding, the other alphabet, blanks, and stray low bits are refused."""
    assert signatures.decode_base64url(text) is None


def public_key(name: str) -> Ed25519PublicKey:
    """Return a public key of the vectors."""
    return signatures.load_public_key(SIGNING["keys"][name]["public_pem"])
