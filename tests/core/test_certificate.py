"""Certificates that the library cannot read: refused by one error, whatever the library raises."""

from __future__ import annotations

import base64
import datetime
import ssl
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.core.certificate import (
    CertificateRefused,
    KeyOfCertificateRefused,
    alternative_names,
    certificates_in,
    check_key,
    missing_for_strict,
    validity_of,
)

KEY = ec.generate_private_key(ec.SECP256R1())
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
VERSION = b"\xa0\x03\x02\x01\x02"
CURVE = bytes.fromhex("06082a8648ce3d030107")


def certificate() -> bytes:
    """A usable certificate, DER."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("a.example")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=2))
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(
        x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.99"), b"x"), critical=False
    )
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def test_one_of_an_unknown_version_is_refused() -> None:
    """The library raises an error outside ValueError. It ended the task that follows the files of the admin port."""
    broken = pem(certificate().replace(VERSION, VERSION[:-1] + b"\x05"))
    uses: list[Callable[[bytes], object]] = [certificates_in, validity_of, lambda one: check_key(one, KEY_PEM)]
    for use in uses:
        with pytest.raises(CertificateRefused):
            use(broken)


ONE = pem(certificate())
HIDDEN = {
    "a byte-order mark": b"\xef\xbb\xbf" + ONE + ONE,
    "blanks before a first line": ONE + b"  " + ONE,
    "two on one line": ONE.rstrip(b"\n") + ONE,
    "cut off": ONE + ONE[:200],
    "indented": b"".join(b"  " + line for line in ONE.splitlines(keepends=True)),
    "line ends as two characters": ONE.replace(b"\n", b"\\n"),
    "UTF-16": ONE.decode().encode("utf-16"),
}


@pytest.mark.parametrize("content", HIDDEN.values(), ids=HIDDEN)
def test_a_certificate_that_tls_would_skip_is_refused(content: bytes) -> None:
    """OpenSSL and BoringSSL take it for text around the others, or read nothing: a CA would be missing in silence."""
    with pytest.raises(CertificateRefused):
        certificates_in(content)


@pytest.mark.parametrize(
    "content",
    [b"# ours\n" + ONE + b"text" + ONE[:0], (ONE + ONE).replace(b"\n", b"\r\n"), ONE + KEY_PEM, ONE.rstrip(b"\n"),
     ONE.replace(b"-----\n", b"----- \n")],
    ids=["text", "CRLF", "with a key", "no last line end", "blanks after a line"],
)  # fmt: skip
def test_what_tls_reads_is_taken(content: bytes) -> None:
    """Text around a certificate, line ends of Windows, a key beside it. OpenSSL finds the same number."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=content.decode())
    assert len(set(certificates_in(content))) == context.cert_store_stats()["x509"]


@pytest.mark.parametrize(
    ("key", "found"),
    [(KEY_PEM.replace(b"\n", b"\\n"), "two characters"), (b" " + KEY_PEM, "before its first line")],
    ids=["line ends as two characters", "a blank before it"],
)
def test_a_key_that_tls_would_not_find_is_refused(key: bytes, found: str) -> None:
    """With the reason: OpenSSL only says that there is none."""
    with pytest.raises(KeyOfCertificateRefused, match=found):
        check_key(ONE, key)


def test_one_with_the_same_extension_twice_has_no_names() -> None:
    """A proxy may hand over such a certificate of a caller."""
    twice = pem(certificate().replace(bytes.fromhex("0603551d63"), bytes.fromhex("0603551d11")))
    assert alternative_names(pem(certificate())) == ([], ["a.example"])
    assert alternative_names(twice) == ([], [])
    with pytest.raises(CertificateRefused):
        missing_for_strict(certificates_in(twice)[0])


def test_one_with_an_unknown_type_of_key_does_not_fit_a_key() -> None:
    """Its curve is none that the library knows."""
    odd = pem(certificate().replace(CURVE, CURVE[:-1] + b"\x63"))
    with pytest.raises(CertificateRefused):
        check_key(odd, KEY_PEM)
