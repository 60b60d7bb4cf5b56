"""The development CA and secrets: kept, renewed, private, and good for nothing but development."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.core.ed25519 import load_signing_key
from gateway.core.sealing import SealKeys
from gateway.keys.sources.secret_files import read_secret_file
from tools import dev_ca, dev_secrets

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = ("ca", "gateway", "sandbox", "game", "wallet", "operations")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dev_ca.make(tmp_path / "ca", NOW)
    return tmp_path / "ca"


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def handshake(folder: Path, host: str, *, caller: str | None = "game", server: str = "gateway") -> None:
    """Do one mutual TLS handshake over a socket pair; raises ssl.SSLError where either side refuses."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.maximum_version = ssl.TLSVersion.TLSv1_2  # so that the client learns of a refusal within the handshake
    serving.load_cert_chain(folder / f"{server}.pem", folder / f"{server}.key")
    serving.load_verify_locations(folder / "ca.pem")
    serving.verify_mode = ssl.CERT_REQUIRED
    calling = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    calling.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    serving.verify_flags |= ssl.VERIFY_X509_STRICT
    if caller is not None:
        calling.load_cert_chain(folder / f"{caller}.pem", folder / f"{caller}.key")
    near, far = socket.socketpair()
    near.settimeout(10)
    far.settimeout(10)

    def serve() -> None:
        try:
            serving.wrap_socket(far, server_side=True).close()
        except OSError:
            far.close()  # the client sees it too

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        calling.wrap_socket(near, server_hostname=host).close()
    finally:
        near.close()
        thread.join(10)


@pytest.mark.parametrize("host", ["localhost", "gateway-1", "gateway-2", "127.0.0.1", "::1"])
def test_the_gateway_is_known_by_each_of_its_names(folder: Path, host: str) -> None:
    """Mutual TLS holds, by OpenSSL's strict rules."""
    handshake(folder, host)


@pytest.mark.parametrize("host", ["example.com", "sandbox"])
def test_the_gateway_is_not_known_by_another_name(folder: Path, host: str) -> None:
    """The certificate of one service serves no other."""
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, host)


def test_a_caller_without_a_certificate_is_refused(folder: Path) -> None:
    """The client certificate is what names a caller."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(folder, "localhost", caller=None)


def test_a_server_certificate_names_no_caller(folder: Path) -> None:
    """Whoever takes the gateway's key cannot call with it."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(folder, "localhost", caller="sandbox")


def test_a_caller_has_a_spiffe_id_and_a_dns_name(folder: Path) -> None:
    """The SPIFFE id is first, because the gateway takes the first name."""
    names = certificate(folder, "wallet").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["spiffe://dev.internal/wallet", "wallet.dev.internal"]


def test_the_ca_can_sign_for_no_real_host(folder: Path) -> None:
    """A certificate that its key signs for another host is refused: name constraints."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    own = certificate(folder, "gateway")
    builder = x509.CertificateBuilder(
        own.issuer, own.subject, key.public_key(), 7, NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    )
    for extension in own.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            value = x509.SubjectAlternativeName([x509.DNSName("prediction.phoenixverse.io")])
        builder = builder.add_extension(value, extension.critical)
    (folder / "gateway.pem").write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "gateway.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(folder, "prediction.phoenixverse.io")


def test_a_second_run_changes_nothing(folder: Path) -> None:
    """A second run changes nothing and reports so."""
    before = contents(folder)
    lines = dev_ca.make(folder, NOW + timedelta(hours=1))
    assert contents(folder) == before
    assert [line.split()[0] for line in lines] == ["kept"] * len(NAMES)


def test_it_says_when_it_renews(folder: Path) -> None:
    """Each line names the time from which a run renews the file, and a run at this time does."""
    renews = NOW + dev_ca.LIFETIME - dev_ca.RENEW_BEFORE
    line = dev_ca.make(folder, NOW)[1]
    assert f"renews it from {renews:%Y-%m-%d %H:%M}" in line
    assert dev_ca.make(folder, renews - timedelta(minutes=1))[1].startswith("kept gateway")
    assert dev_ca.make(folder, renews)[1].startswith("made gateway")


def test_certificates_are_renewed_under_the_same_ca(folder: Path) -> None:
    """Clients need no new CA while it is valid, and no certificate outlives it."""
    before = contents(folder)
    dev_ca.make(folder, NOW + timedelta(days=6))
    after = contents(folder)
    assert [name for name in sorted(before) if before[name] == after[name]] == ["ca.key", "ca.pem"]
    assert certificate(folder, "gateway").not_valid_after_utc < certificate(folder, "ca").not_valid_after_utc


def test_an_ending_ca_is_created_again_with_all_that_it_signed(folder: Path) -> None:
    """Before the CA would end earlier than what it signs."""
    before = contents(folder)
    dev_ca.make(folder, NOW + dev_ca.CA_LIFETIME - dev_ca.LIFETIME)
    assert [name for name in before if contents(folder)[name] == before[name]] == []


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
@pytest.mark.parametrize("name", ["gateway.pem", "gateway.key"])
def test_a_damaged_pair_is_created_again(folder: Path, name: str, damage: bytes | None) -> None:
    """Empty, unreadable or missing: the pair is replaced, the others stay."""
    if damage is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damage)
    assert [line.split()[:2] for line in dev_ca.make(folder, NOW)][:3] == [
        ["kept", "ca"],
        ["made", "gateway"],
        ["kept", "sandbox"],
    ]
    handshake(folder, "localhost")


def test_a_pair_of_another_ca_is_created_again(folder: Path, tmp_path: Path) -> None:
    """No client would trust a certificate that was copied from elsewhere."""
    dev_ca.make(tmp_path / "other", NOW)
    for name in ("game.pem", "game.key"):
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    dev_ca.make(folder, NOW)
    handshake(folder, "localhost")


def test_keys_are_for_their_owner_only(folder: Path) -> None:
    """Also ones that a copy had opened; the folder is closed too."""
    (folder / "game.key").chmod(0o644)
    dev_ca.make(folder, NOW)
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_secrets_are_what_the_gateway_takes(tmp_path: Path) -> None:
    """Its own readers accept the files: permissions, key format, seal keys."""
    dev_secrets.make(tmp_path)
    for path in tmp_path.iterdir():
        read_secret_file(path)
    load_signing_key((tmp_path / "prediction_launch_key").read_bytes())
    SealKeys.from_text((tmp_path / "gateway_cache_keys").read_text())
    assert len(base64.b64decode((tmp_path / "gateway_cache_keys").read_text())) == 32


def test_a_secret_that_is_there_is_never_touched(tmp_path: Path) -> None:
    """A real one in its place stays."""
    (tmp_path / "admin_api_key").write_text("the real one\n")
    dev_secrets.make(tmp_path)
    before = contents(tmp_path)
    dev_secrets.make(tmp_path)
    assert contents(tmp_path) == before
    assert before["admin_api_key"] == b"the real one\n"


def test_incomplete_pairs_are_reported_and_not_changed(tmp_path: Path) -> None:
    """A password made beside a URL with another one would look right and fail at the database."""
    (tmp_path / "database_url").write_text("postgresql://gateway:its-own@db.internal/gateway\n")
    lines = dev_secrets.make(tmp_path)
    assert [line for line in lines if "MISSING" in line] == [
        "MISSING postgres_password: belongs to database_url. Write it, or delete both."
    ]
    assert not (tmp_path / "postgres_password").exists()


def test_output_holds_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints names and times."""
    assert dev_ca.main(["--folder", str(tmp_path / "ca"), "--secrets", str(tmp_path / "secrets")]) == 0
    printed = capsys.readouterr().out
    values = [word for path in (tmp_path / "secrets").iterdir() for word in path.read_text().split() if len(word) > 12]
    assert [value for value in values if value in printed] == []


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and the path, no traceback."""
    (tmp_path / "file").write_text("")
    assert dev_ca.main(["--folder", str(tmp_path / "file" / "ca"), "--secrets", str(tmp_path / "s")]) == 1
    assert "cannot write" in capsys.readouterr().err
