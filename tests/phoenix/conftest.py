"""A transport for one test, and a generated CA with a certificate for 127.0.0.1."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.phoenix.transport import Transport

_TODAY = datetime.datetime.now(datetime.UTC)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_TODAY - datetime.timedelta(days=1))
        .not_valid_after(_TODAY + datetime.timedelta(days=2))
    )
    # From Python 3.13 on a chain is checked strictly (RFC 5280): both key identifiers, and what an authority may do.
    is_authority = any(isinstance(extension, x509.BasicConstraints) for extension in extensions)
    identifiers = (
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
    )
    if is_authority:
        usage = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        signs = x509.KeyUsage(key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False, **usage)
        builder = builder.add_extension(signs, critical=True)
    for extension in (*identifiers, *extensions):
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="session")
def _tls_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Paths of the authority's certificate and of the server's key and certificate in one file."""
    folder = tmp_path_factory.mktemp("tls")
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("test authority", ca_key, "test authority", ca_key, x509.BasicConstraints(ca=True, path_length=0))
    server = _certificate(
        "test server",
        server_key,
        "test authority",
        ca_key,
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
    )
    ca_path, server_path = folder / "ca.pem", folder / "server.pem"
    ca_path.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    server_path.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + server.public_bytes(serialization.Encoding.PEM)
    )
    return ca_path, server_path


@pytest.fixture
def ca_file(_tls_files: tuple[Path, Path]) -> Path:
    """The authority's certificate, as GATEWAY_UPSTREAM_CA_FILE would name it."""
    return _tls_files[0]


@pytest.fixture
def server_tls(_tls_files: tuple[Path, Path]) -> ssl.SSLContext:
    """TLS of a server at 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_tls_files[1])
    return context


@pytest_asyncio.fixture
async def transport() -> AsyncIterator[Transport]:
    """A transport with its defaults, closed afterwards."""
    made = Transport()
    yield made
    await made.close()
