"""The listener's own certificate and key, right and wrong."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.config import TlsFiles
from gateway.doctor.own_tls import own_tls
from gateway.doctor.report import Result, State
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.certificates import Authority as StrictAuthority
from tests.doctor.test_tls import NOW, Authority

CLOCK = SystemClock()


async def look(cert: Path, key: Path, client_ca: Path | None = None) -> Result:
    """The doctor's findings for these files."""
    files = TlsFiles(cert_file=cert, key_file=key, client_ca_file=client_ca)
    return await own_tls(files, CLOCK, Deadline.after(5, CLOCK))


@pytest.mark.parametrize(
    ("days", "state", "words"),
    [(100, State.OK, "valid for 99 more days"), (5, State.WARNING, "expires in"), (-1, State.FAULT, "has expired")],
)
async def test_how_long_it_holds(tmp_path: Path, days: int, state: State, words: str) -> None:
    """The remaining days decide and are reported."""
    authority, ca = StrictAuthority(), tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate)
    pair = authority.issue("gateway.internal", begins=timedelta(days=-2), ends=timedelta(days=days))
    result = await look(*pair.write(tmp_path, "server"), ca)
    assert (result.state, words in result.what) == (state, True)


async def test_extensions_that_strict_callers_miss(tmp_path: Path) -> None:
    """The gateway accepts such certificates on every Python; the doctor names what callers on newer ones miss."""
    weak, strict = Authority(tmp_path, "ca"), StrictAuthority()
    result = await look(*weak.issue("gateway.internal", NOW + timedelta(days=100)))
    assert result.state is State.WARNING
    assert "GATEWAY_TLS_CERT_FILE lacks: Authority Key Identifier" in result.what
    result = await look(*strict.issue("gateway.internal", ends=timedelta(days=100)).write(tmp_path, "s"), weak.file)
    assert result.state is State.WARNING
    assert "GATEWAY_TLS_CLIENT_CA_FILE lacks: Subject Key Identifier, Key Usage" in result.what


async def test_key_of_another_certificate(tmp_path: Path) -> None:
    """A pair that does not belong together is called that."""
    cert, _ = Authority(tmp_path, "one").issue("gateway.internal", NOW + timedelta(days=100))
    _, key = Authority(tmp_path, "two").issue("gateway.internal", NOW + timedelta(days=100))
    result = await look(cert, key)
    assert (result.state, result.what) == (State.FAULT, "the certificate does not belong to the key")


async def test_key_with_a_password(tmp_path: Path) -> None:
    """An encrypted key is a fault, without a password prompt."""
    cert, key = Authority(tmp_path, "ca").issue("gateway.internal", NOW + timedelta(days=100))
    encrypt(key)
    result = await look(cert, key)
    assert (result.state, result.what) == (State.FAULT, "the key is encrypted")


async def test_files_that_hold_something_else(tmp_path: Path) -> None:
    """Files without PEM are named by their settings."""
    cert, key = Authority(tmp_path, "ca").issue("gateway.internal", NOW + timedelta(days=100))
    swapped = await look(key, cert)
    no_ca = await look(cert, key, key)
    assert (swapped.state, "GATEWAY_TLS_CERT_FILE" in swapped.fix) == (State.FAULT, True)
    assert (no_ca.state, "GATEWAY_TLS_CLIENT_CA_FILE" in no_ca.fix) == (State.FAULT, True)


def encrypt(file: Path) -> None:
    """Put a password on a key file."""
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(os.urandom(8)),
        )
    )
