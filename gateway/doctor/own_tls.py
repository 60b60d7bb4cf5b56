"""The gateway's own certificate: readable, matching its key, currently valid; and the CA of its callers' certificates.

The check makes a handshake with itself in memory, because the standard library shows only a verified certificate.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from gateway.config import TlsFiles
from gateway.core.certificate import CertificateRefused, certificates_in, missing_for_strict
from gateway.core.trust import as_on_every_python
from gateway.doctor.report import Result, fault, ok, warning
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

WARN_DAYS = 14
_CA = "GATEWAY_TLS_CLIENT_CA_FILE"
_EXPIRED, _NOT_YET_VALID = 10, 9
_STEPS = 8
"""More messages than a handshake takes in either direction."""


async def own_tls(files: TlsFiles, clock: Clock, deadline: Deadline) -> Result:
    """Load what the listener will load, and check how long it is valid."""
    return await asyncio.to_thread(_own_tls, files, clock.now())


def _own_tls(files: TlsFiles, now: float) -> Result:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(files.cert_file, files.key_file, password=_no_password)
    except (ssl.SSLError, OSError, _Encrypted) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            return fault(
                "the certificate does not belong to the key",
                "put a matching pair into GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE",
            )
        if isinstance(error, _Encrypted):
            return fault("the key is encrypted", "store it unencrypted in GATEWAY_TLS_KEY_FILE, mode 0600")
        return fault("certificate or key cannot be read as PEM", "check GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE")
    if files.client_ca_file is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=files.client_ca_file)
        except (ssl.SSLError, OSError):
            return fault("the file of the callers' CA holds no certificate in PEM", f"check {_CA}")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # the names that callers use are not known here
    as_on_every_python(client)  # its issuer may be missing here
    client.load_verify_locations(cafile=files.cert_file)
    try:
        certificate = _verified_certificate(client, server)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            return fault("the certificate has expired", "renew it; a running gateway loads the changed file by itself")
        if error.verify_code == _NOT_YET_VALID:
            return fault("the certificate is not valid yet", "check this machine's clock")
        return warning(
            f"this machine's own TLS refuses the certificate (OpenSSL code {error.verify_code})",
            "inspect it with: openssl x509 -text",
        )
    except ssl.SSLError:
        return warning("no handshake with the certificate was possible", "inspect it with: openssl x509 -text")
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - now) / 86_400
    callers = "callers need a certificate" if files.client_ca_file is not None else "callers need no certificate"
    if days < WARN_DAYS:
        return warning(f"the certificate expires in {days:.1f} days", "renew it; the gateway needs no restart")
    if (strict := _missed_by_strict(files)) is not None:
        return strict
    return ok(f"the pair matches and is valid for {int(days)} more days; {callers}")


def _missed_by_strict(files: TlsFiles) -> Result | None:
    """Return a warning if strict callers, such as Python from 3.13 on, would refuse a certificate that we accept."""
    for path, setting in ((files.cert_file, "GATEWAY_TLS_CERT_FILE"), (files.client_ca_file, _CA)):
        try:
            lacking = [] if path is None else [missing_for_strict(one) for one in certificates_in(path.read_bytes())]
        except CertificateRefused as refused:
            return warning(f"{setting}: a certificate {refused}", "issue it again; callers may refuse it")
        if missing := next(filter(None, lacking), None):
            return warning(
                f"a certificate in {setting} lacks: {', '.join(missing)}; Python from 3.13 on refuses it",
                "issue it again with these extensions (RFC 5280); the gateway itself accepts it",
            )
    return None


class _Encrypted(Exception):
    """The key asks for a password."""


def _no_password() -> str:
    raise _Encrypted


def _verified_certificate(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> dict[str, Any]:
    """Return the certificate as a client sees it after it verified it. Raises: ssl.SSLError."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_STEPS):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            return dict(client.getpeercert() or {})
        try:
            server.do_handshake()
        except ssl.SSLWantReadError:
            pass
    raise ssl.SSLError("the handshake did not finish")
