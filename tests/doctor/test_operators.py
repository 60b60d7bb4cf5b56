"""Prediction: the platform key and its pins, whether Phoenix knows ours, and the operator's id."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.core.ed25519 import generate_signing_key, load_signing_key
from gateway.doctor.report import State
from tests.doctor.diagnosis import faults_in, findings_of, pick, settings_of
from tests.sandbox_process import SandboxProcess

WELL_KNOWN = "/.well-known/signing-key.pem"
PINS = "PREDICTION_PLATFORM_KEY_SHA256"


def serve(sandbox: SandboxProcess, body: str, *, path: str = WELL_KNOWN, status: int = 200) -> None:
    """Have the prediction host answer so on a path."""
    planted: dict[str, Any] = {"surface": "prediction", "kind": "status", "status": status, "body": body}
    sandbox.control("POST", "/faults", {**planted, "path_prefix": path})


def fingerprint(sandbox: SandboxProcess) -> str:
    """The fingerprint of the sandbox's present platform key."""
    pem = sandbox.control("POST", "/keys/rotate", {})["public_pem"]
    spki = serialization.load_pem_public_key(pem.encode()).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


def rsa_public_pem() -> str:
    """An RSA public key."""
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


async def test_the_key_without_pins_comes_with_the_line_that_pins_it(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """The finding has the fingerprint and the way to pin it."""
    key_id = fingerprint(sandbox)
    found = pick(await findings_of(settings_of(sandbox, tmp_path)), "platform-key")
    assert found.state is State.OK
    assert found.fix == f"to pin it: {PINS}={key_id}"


async def test_the_key_is_pinned(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A matching pin is reported."""
    settings = {**settings_of(sandbox, tmp_path), PINS: fingerprint(sandbox)}
    found = pick(await findings_of(settings), "platform-key")
    assert (found.state, found.what) == (State.OK, f"fetched and pinned: {settings[PINS]}")


async def test_wrong_pins(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A served key that is not pinned is a fault that names both."""
    key_id = fingerprint(sandbox)
    findings = await findings_of({**settings_of(sandbox, tmp_path), PINS: "0" * 64})
    assert faults_in(findings) == ["platform-key"]
    assert key_id in pick(findings, "platform-key").what
    assert PINS in pick(findings, "platform-key").what


async def test_web_page_in_place_of_the_key(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """HTML is called a web page."""
    serve(sandbox, "<!doctype html><title>Sign in</title>")
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert faults_in(findings) == ["platform-key"]
    assert "web page (HTML)" in pick(findings, "platform-key").what
    assert "PREDICTION_BASE_URL" in pick(findings, "platform-key").fix


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("no key at all", 200, "no whole PEM block"),
        ("x" * 20_000, 200, "larger than a key"),
        ("", 404, "answered 404"),
        ("", 500, "answered 500"),
    ],
)
async def test_no_key_is_served(sandbox: SandboxProcess, tmp_path: Path, body: str, status: int, words: str) -> None:
    """Anything else in place of the key is a fault that describes it."""
    serve(sandbox, body, status=status)
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert faults_in(findings) == ["platform-key"]
    assert words in pick(findings, "platform-key").what


async def test_rsa_platform_key(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """An RSA key is refused as one."""
    serve(sandbox, rsa_public_pem())
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert "RSA" in pick(findings, "platform-key").what


async def test_own_key_in_place_of_the_platform_key(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """The operator's own key in place of the platform key has a separate finding."""
    own = load_signing_key(sandbox.environ["PREDICTION_LAUNCH_KEY"].encode())
    serve(sandbox, own.public.spki_pem.decode())
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert "our own operator key" in pick(findings, "platform-key").what


async def test_static_key_after_a_rotation(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A configured platform key that Phoenix no longer serves is a warning: it may be meant."""
    other = generate_signing_key()[0].public.spki_pem.decode()
    findings = await findings_of({**settings_of(sandbox, tmp_path), "PREDICTION_PLATFORM_KEY": other})
    assert pick(findings, "platform-key").state is State.WARNING
    assert "is not the key that Phoenix serves" in pick(findings, "platform-key").what


async def test_launch_key_that_phoenix_does_not_know(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A key pair that was never registered is a fault that shows both fingerprints."""
    key, pem = generate_signing_key()
    findings = await findings_of({**settings_of(sandbox, tmp_path), "PREDICTION_LAUNCH_KEY": pem.decode()})
    assert faults_in(findings) == ["operator-key"]
    found = pick(findings, "operator-key")
    assert str(key.key_id) in found.what
    assert "register" in found.fix


async def test_wrong_environment(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """The right key under the other environment points at the environment."""
    findings = await findings_of({**settings_of(sandbox, tmp_path), "PREDICTION_ENVIRONMENT": "prod"})
    found = pick(findings, "operator-key", "acme/prod")
    assert found.state is State.WARNING
    assert "PREDICTION_ENVIRONMENT" in found.fix


async def test_unknown_operator(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """An operator code that Phoenix does not know is a fault that names the setting."""
    findings = await findings_of({**settings_of(sandbox, tmp_path), "PREDICTION_OPERATOR_CODE": "nobody"})
    assert faults_in(findings) == ["operator-key"]
    assert "PREDICTION_OPERATOR_CODE" in pick(findings, "operator-key").fix


async def test_older_form_of_the_operator_signature(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """If Phoenix accepts only the five-part form, the key is verified with it."""
    sandbox.control("POST", "/settings", {"operator_signature": "five"})
    found = pick(await findings_of(settings_of(sandbox, tmp_path)), "operator-key")
    assert (found.state, "older form" in found.what) == (State.OK, True)


async def test_operator_id(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """If set, the finding names the effect of a wrong value; if unset, that operators cannot be distinguished."""
    settings = settings_of(sandbox, tmp_path)
    found = pick(await findings_of(settings), "operator-id")
    assert (found.state, "403" in found.what) == (State.OK, True)
    del settings["PREDICTION_OPERATOR_ID"]
    found = pick(await findings_of(settings), "operator-id")
    assert (found.state, "PREDICTION_OPERATOR_ID" in found.what) == (State.WARNING, True)
