"""The TLS files of a command: what is wrong is said before any connection, and nobody is asked for a password."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.cli.explain_story import run
from gateway.cli.options import WrongOptions
from gateway.cli.tls_files import client_context
from tests.certificates import Authority

Files = tuple[Path, Path, Path]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """CA, certificate and key, which work."""
    authority, ca = Authority(), tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate)
    return ca, *authority.issue("spiffe://test/a").write(tmp_path, "own")


def test_a_verdict_on_a_certificate_is_the_same_on_every_python(files: Files) -> None:
    """Python 3.13 is stricter by default than 3.12, and than grpc, which the other commands use."""
    context = client_context(*files)
    assert context is not None
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_without_files_there_is_no_tls() -> None:
    """As on a loopback port."""
    assert client_context(None, None, None) is None


def test_an_encrypted_key_is_refused(files: Files) -> None:
    """OpenSSL would ask for its password on the terminal, and a script would hang."""
    key = load_pem_private_key(files[2].read_bytes(), None)
    files[2].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(WrongOptions, match=r"--key-file: .*own\.key is encrypted; give the key without a password"):
        client_context(*files)


def test_explain_says_which_file_is_wrong(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and not that the port does not answer: nobody was asked."""
    ca, own, key = files
    gone = tmp_path / "gone.pem"
    for given, message in [
        ((None, own, key), "--cert-file and --key-file need --ca-file; give it too\n"),
        ((None, own, None), "--cert-file and --key-file need --ca-file; give it too\n"),
        ((ca, own, None), "--cert-file and --key-file: give both or neither\n"),
        ((gone, None, None), f"{gone}: the TLS file cannot be read (No such file or directory); check the path and"),
        ((tmp_path, None, None), f"{tmp_path}: the TLS file cannot be read (Is a directory); check the path and"),
        ((key, None, None), f"--ca-file: {key} has no certificate; give the CA as PEM\n"),
        ((ca, key, own), f"--cert-file and --key-file: {key} and {own} do not belong together, or are not a PEM"),
    ]:
        assert run("r-1", "127.0.0.1:1", *given, as_json=False) == 2
        assert capsys.readouterr().err.startswith(message)
