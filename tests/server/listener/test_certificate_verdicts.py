"""One verdict on a caller's certificate: by grpc, by the HTTP/2 front and by the admin port, on every Python."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.config.model import AdminClientAuth, TlsFiles
from gateway.resilience.clock import SystemClock
from gateway.server.listener.tls import AdminTls, TlsSource
from tests.certificates import Authority


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A CA, or an end of a chain, without any extension that RFC 5280 wants beside the first."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    certificate: bytes

    def private(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signed(common_name: str, issuer: Signer | None, *, is_ca: bool) -> Signer:
    """Return what this issuer signs; itself where there is none."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
    )
    certificate = builder.sign(key if issuer is None else issuer.key, hashes.SHA256())
    return Signer(name=name, key=key, certificate=certificate.public_bytes(Encoding.PEM))


ROOT = signed("root.example", None, is_ca=True)
INTERMEDIATE = signed("intermediate.example", ROOT, is_ca=True)
CALLER = signed("caller.example", ROOT, is_ca=False)
CALLER_OF_INTERMEDIATE = signed("other.example", INTERMEDIATE, is_ca=False)
STRANGER = signed("stranger.example", signed("stranger-ca.example", None, is_ca=True), is_ca=False)


def by_context(context: ssl.SSLContext, server: Authority, caller: Signer, folder: Path) -> bool:
    """Whether a handshake with this caller's certificate succeeds at the server."""
    cert, key = folder / "caller.pem", folder / "caller.key"
    cert.write_bytes(caller.certificate)
    key.write_bytes(caller.private())
    trusting = ssl.create_default_context(cadata=server.certificate.decode())
    trusting.load_cert_chain(cert, key)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname="localhost")
    serving = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(8):
        for side in (client, serving):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
            if side is serving:
                return True
    return False


async def by_grpc(credentials: grpc.ServerCredentials, server: Authority, caller: Signer) -> bool:
    """Whether a call with this certificate reaches the server, which has no method."""
    serving = grpc.aio.server()
    port = serving.add_secure_port("127.0.0.1:0", credentials)
    await serving.start()
    shown = grpc.ssl_channel_credentials(server.certificate, caller.private(), caller.certificate)
    try:
        async with grpc.aio.secure_channel(f"localhost:{port}", shown) as channel:
            method: Any = channel.unary_unary("/a.B/C")
            await method(b"", timeout=10)
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNIMPLEMENTED
    finally:
        await serving.stop(0)
    return True


@pytest.mark.parametrize(
    ("trusted", "caller", "accepted"),
    [
        (ROOT, CALLER, True),
        (INTERMEDIATE, CALLER_OF_INTERMEDIATE, True),
        (ROOT, CALLER_OF_INTERMEDIATE, False),
        (ROOT, STRANGER, False),
    ],
    ids=["no extensions", "only the intermediate is trusted", "the intermediate is missing", "stranger"],
)
async def test_all_listeners_judge_alike(trusted: Signer, caller: Signer, accepted: bool, tmp_path: Path) -> None:
    """Certificates of many company CAs lack an Authority Key Identifier, which Python from 3.13 on asks for."""
    server, ca = Authority(), tmp_path / "ca.pem"
    cert, key = server.issue("localhost").write(tmp_path, "server")
    ca.write_bytes(trusted.certificate)
    files = TlsFiles(cert_file=cert, key_file=key, client_ca_file=ca)
    source = TlsSource(files, SystemClock(), lambda name: None)
    contexts: list[Callable[[], ssl.SSLContext]] = [
        source.context,
        lambda: AdminTls(files, SystemClock(), AdminClientAuth.REQUIRED).context,
        lambda: AdminTls(files, SystemClock(), AdminClientAuth.METRICS).context,
    ]
    verdicts = [by_context(make(), server, caller, tmp_path) for make in contexts]
    verdicts.append(await by_grpc(source.credentials(), server, caller))
    assert verdicts == [accepted] * 4
