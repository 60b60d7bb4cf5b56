"""Creates a development certificate authority (CA), and certificates for the gateway, the sandbox and some callers.

You can run it at any time: it keeps valid files and replaces those that expire soon or no longer fit. Each line of the
output says which, and when to run it again. Name constraints limit the CA to the host names below, so it cannot sign
for a real host. Use it for development only: the CA's key is stored in a file. `dev_secrets` creates other secrets.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tools import dev_secrets

ROOT = Path(__file__).resolve().parent.parent
TRUST_DOMAIN = "dev.internal"
HOSTS = ("localhost", "gateway", "gateway-1", "gateway-2", "sandbox")
LOOPBACK = ("127.0.0.1", "::1")
CA_LIFETIME = timedelta(days=60)
LIFETIME = timedelta(days=7)
CONTAINER_UID = 1000
"""The user of the containers, unless RUN_AS_UID names another. Only this user can read the keys."""
RENEW_BEFORE = timedelta(days=2)
"""A certificate that expires within this time is replaced."""
SKEW = timedelta(minutes=5)
"""Certificates start this much in the past, because the clocks of containers may be late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One certificate to create. `spiffe_path` names a caller; a server has none."""

    name: str
    hosts: tuple[str, ...]
    spiffe_path: str | None = None


LEAVES = (
    Leaf(name="gateway", hosts=("gateway", "gateway-1", "gateway-2", "localhost")),
    Leaf(name="sandbox", hosts=("sandbox", "localhost")),
    *(
        Leaf(name=name, hosts=(f"{name}.{TRUST_DOMAIN}",), spiffe_path=name)
        for name in ("game", "wallet", "operations")
    ),
)
"""Certificates by file name: two servers and three callers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make(folder: Path, now: datetime) -> list[str]:
    """Bring `folder` up to date and return one line for each pair.

    Files: `ca.pem`, `ca.key`, and NAME.pem, NAME.key for each leaf. The mode of keys is 0600, of the folder 0700.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    lines: list[str] = []
    ca, reason = _kept_ca(folder, now), "kept"
    if ca is None:
        ca, reason = _new_ca(now), "made"
        _store(folder, "ca", ca)
    lines.append(_line("ca", ca, reason))
    for leaf in LEAVES:
        pair, reason = _kept_leaf(folder, leaf, ca, now), "kept"
        if pair is None:
            pair, reason = _new_leaf(leaf, ca, now), "made"
            _store(folder, leaf.name, pair)
        lines.append(_line(leaf.name, pair, reason))
    return lines


def _line(name: str, pair: Pair, reason: str) -> str:
    ends = pair.certificate.not_valid_after_utc
    renews = ends - (RENEW_BEFORE if name != "ca" else LIFETIME)
    return (
        f"{reason} {name:<11} expires {ends:%Y-%m-%d %H:%M} UTC; `make dev-ca` renews it from {renews:%Y-%m-%d %H:%M}"
    )


def _kept_ca(folder: Path, now: datetime) -> Pair | None:
    """Return the stored CA if it outlives a certificate signed now and has the current name constraints."""
    pair = _load(folder, "ca")
    if pair is None or pair.certificate.not_valid_after_utc <= now + LIFETIME:
        return None
    if pair.certificate.not_valid_before_utc > now:
        return None
    found = [each.value for each in pair.certificate.extensions if each.oid == x509.NameConstraints.oid]
    return pair if found == [_constraints()] else None


def _kept_leaf(folder: Path, leaf: Leaf, ca: Pair, now: datetime) -> Pair | None:
    """Return the stored certificate if it does not expire soon, has the current names and is signed by this CA."""
    pair = _load(folder, leaf.name)
    if pair is None or pair.certificate.not_valid_after_utc <= now + RENEW_BEFORE:
        return None
    if pair.certificate.not_valid_before_utc > now:
        return None
    try:
        pair.certificate.verify_directly_issued_by(ca.certificate)
        names = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
        return None
    return pair if names == _names(leaf) else None


def _new_ca(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # Each CA has a unique name, because path building confuses two CAs with the same name.
    serial = x509.random_serial_number()
    name = _subject(f"Phoenix Gateway development CA {serial:x}"[:60])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - SKEW)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(_constraints(), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate=certificate, key=key)


def _new_leaf(leaf: Leaf, ca: Pair, now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if leaf.spiffe_path else ExtendedKeyUsageOID.SERVER_AUTH
    issuer = ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_subject(leaf.name))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(_names(leaf), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    return Pair(certificate=certificate, key=key)


def _subject(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "development only"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, name),
        ]
    )


def _names(leaf: Leaf) -> x509.SubjectAlternativeName:
    """Return the names. The SPIFFE id comes first: the gateway takes it as the caller's id."""
    names: list[x509.GeneralName] = []
    if leaf.spiffe_path:
        names.append(x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}/{leaf.spiffe_path}"))
    names += [x509.DNSName(host) for host in leaf.hosts]
    if not leaf.spiffe_path:
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in LOOPBACK]
    return x509.SubjectAlternativeName(names)


def _constraints() -> x509.NameConstraints:
    permitted: list[x509.GeneralName] = [x509.DNSName(host) for host in (*HOSTS, TRUST_DOMAIN)]
    # No IP addresses: gRPC's TLS library refuses name constraints of an unknown type.
    permitted.append(x509.UniformResourceIdentifier(TRUST_DOMAIN))
    return x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load(folder: Path, name: str) -> Pair | None:
    """Return the stored pair, or None if a file is missing or unreadable or the two do not match."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    (folder / f"{name}.key").chmod(0o600)  # a copy or an archive may have changed the mode
    return Pair(certificate=certificate, key=key)


def _store(folder: Path, name: str, pair: Pair) -> None:
    pem = pair.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    dev_secrets.write_private(folder / f"{name}.key", pem)
    certificate = folder / f"{name}.pem"
    dev_secrets.write_private(certificate, pair.certificate.public_bytes(serialization.Encoding.PEM))
    certificate.chmod(0o644)


def main(arguments: Sequence[str] | None = None) -> int:
    """Create or renew all files below `--folder` and `--secrets`. Return 1 if a file cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.dev_ca", description="Create a CA and secrets for development."
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "dev-ca", help="folder of the certificates")
    parser.add_argument("--secrets", type=Path, default=ROOT / "var" / "dev-secrets", help="folder of the secrets")
    flags = parser.parse_args(arguments)
    try:
        for line in make(flags.folder, datetime.now(UTC)):
            print(line)
        for line in dev_secrets.make(flags.secrets):
            print(line)
    except OSError as failed:
        print(f"dev-ca: cannot write {failed.filename}: {failed.strerror}", file=sys.stderr)
        return 1
    state = flags.folder.stat()
    if state.st_uid == 0:
        print("The files belong to root, but no container runs as root. Create them as the user who starts compose.")
    elif state.st_uid != CONTAINER_UID:
        print(f"Start compose with RUN_AS_UID={state.st_uid} RUN_AS_GID={state.st_gid} (docs/compose.md).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
