"""Certificates as a sandbox with TLS shows them: unknown, expired, ending soon, of another host."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.config import ConfigInvalid
from gateway.doctor.diagnose import diagnose
from gateway.doctor.report import Finding, State
from gateway.resilience.clock import SystemClock
from tests.doctor.diagnosis import config_of, faults_in, findings_of, pick, settings_of
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess

NOW = datetime.now(UTC)


class Authority:
    """A certificate authority of the test's."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._subject, self._key.public_key(), NOW + timedelta(days=400))
        own = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, host: str, ends: datetime) -> tuple[Path, Path]:
        """Return certificate and key for 127.0.0.1, or for another name."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
        ]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        builder = self._builder(subject, key.public_key(), ends)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        cert_file, key_file = self._folder / f"{self._name}-leaf.pem", self._folder / f"{self._name}-leaf-key.pem"
        certificate = builder.sign(self._key, hashes.SHA256())
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return cert_file, key_file

    def _builder(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, ends: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=30))
            .not_valid_after(ends)
        )


@contextmanager
def tls_sandbox(authority: Authority, *, host: str = "127.0.0.1", days: float = 100) -> Iterator[SandboxProcess]:
    """A sandbox that shows a certificate of this authority."""
    cert, key = authority.issue(host, NOW + timedelta(days=days))
    with SandboxProcess(arguments=["--tls-cert", str(cert), "--tls-key", str(key)]) as sandbox:
        yield sandbox


async def look(sandbox: SandboxProcess, tmp_path: Path, ca_file: Path | None) -> list[Finding]:
    """What the doctor finds, with this further authority."""
    settings = settings_of(sandbox, tmp_path)
    return await findings_of(settings | ({"GATEWAY_UPSTREAM_CA_FILE": str(ca_file)} if ca_file else {}))


async def test_authorities(tmp_path: Path) -> None:
    """An unknown or wrong CA is a fault that names the setting. The right one is ok, with the remaining days."""
    authority, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    with tls_sandbox(authority) as sandbox:
        unknown = await look(sandbox, tmp_path, None)
        wrong = await look(sandbox, tmp_path, other.file)
        right = await look(sandbox, tmp_path, authority.file)
    assert set(faults_in(unknown)) == {"tls"}
    assert "does not trust" in pick(unknown, "tls", "ADMIN_BASE_URL").what
    assert "GATEWAY_UPSTREAM_CA_FILE" in pick(unknown, "tls", "ADMIN_BASE_URL").fix
    assert "holds a different CA" in pick(wrong, "tls", "ADMIN_BASE_URL").fix
    assert faults_in(right) == []
    assert "valid for 99 more days" in pick(right, "tls", "ADMIN_BASE_URL").what
    assert pick(right, "hmac").state is State.OK


async def test_certificate_that_ends_soon(tmp_path: Path) -> None:
    """Less than two weeks are a warning."""
    authority = Authority(tmp_path, "ca")
    with tls_sandbox(authority, days=5) as sandbox:
        found = pick(await look(sandbox, tmp_path, authority.file), "tls", "ADMIN_BASE_URL")
    assert found.state is State.WARNING
    assert "expires in" in found.what


async def test_certificate_that_has_ended(tmp_path: Path) -> None:
    """An expired certificate differs from an untrusted one."""
    authority = Authority(tmp_path, "ca")
    with tls_sandbox(authority, days=-1) as sandbox:
        found = pick(await look(sandbox, tmp_path, authority.file), "tls", "ADMIN_BASE_URL")
    assert (found.state, found.what) == (State.FAULT, "its certificate has expired")


async def test_certificate_of_another_host(tmp_path: Path) -> None:
    """A certificate for another name points at the setting."""
    authority = Authority(tmp_path, "ca")
    with tls_sandbox(authority, host="phoenix.example") as sandbox:
        found = pick(await look(sandbox, tmp_path, authority.file), "tls", "ADMIN_BASE_URL")
    assert (found.state, found.what) == (State.FAULT, "its certificate is for another host")


async def test_tls_to_a_port_that_speaks_none(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """https:// to a plaintext port is called that."""
    settings = settings_of(sandbox, tmp_path)
    settings["PREDICTION_BASE_URL"] = settings["PREDICTION_BASE_URL"].replace("http:", "https:")
    found = pick(await findings_of(settings), "tls", "PREDICTION_BASE_URL")
    assert (found.state, found.what) == (State.FAULT, "the server does not speak TLS on this port")


async def test_ca_file_without_a_certificate(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A CA file that holds none stops there, and names the setting: as a fault of the configuration, or found later."""
    path = tmp_path / "ca.pem"
    path.write_text("nothing\n")
    settings = {**settings_of(sandbox, tmp_path), "GATEWAY_UPSTREAM_CA_FILE": str(path)}
    with pytest.raises(ConfigInvalid, match="GATEWAY_UPSTREAM_CA_FILE: holds no certificate"):
        config_of(settings)
    path.write_bytes(Authority(tmp_path, "good").file.read_bytes())
    config = config_of(settings)
    path.write_text("nothing\n")
    found = pick(await diagnose(config, SystemClock(), limit_s=5.0), "tls", "GATEWAY_UPSTREAM_CA_FILE")
    assert found.state is State.FAULT


async def test_a_port_without_a_listener(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """With https as with http, no connection is no connection."""
    settings = {**settings_of(sandbox, tmp_path), "PREDICTION_BASE_URL": f"https://127.0.0.1:{free_port()}"}
    assert "no connection" in pick(await findings_of(settings), "tls", "PREDICTION_BASE_URL").what
