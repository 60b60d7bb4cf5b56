"""Read certificates in PEM: their validity, whether a key belongs to one, and what strict verifiers miss in them.

TLS itself checks the subject and the issuer. It also skips without a word what it takes for text around a certificate,
and its libraries differ in that, so a file with such a certificate is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtensionOID

_UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for a certificate that it cannot read. Its errors have no common base class."""


_LABEL = rb"(?:X509 |TRUSTED )?CERTIFICATE-----"
_EDGE = re.compile(rb"-----(BEGIN|END) " + _LABEL)
_EDGE_IN_PLACE = re.compile(rb"^-----(BEGIN|END) " + _LABEL + rb"\s*?$", re.MULTILINE)
_KEY_IN_PLACE = re.compile(rb"^-----BEGIN [A-Z ]*PRIVATE KEY-----", re.MULTILINE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ESCAPED = "writes its line ends as the two characters \\n; write it with line ends"


class CertificateRefused(ValueError):
    """The bytes are not a certificate. The message does not repeat them."""


class KeyOfCertificateRefused(ValueError):
    """The bytes are not the private key of the certificate. The message does not repeat them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """A period in Unix seconds, both ends included."""

    begins_at: float
    ends_at: float

    def holds_at(self, now: float) -> bool:
        """Tell whether the certificate is valid at `now`."""
        return self.begins_at <= now <= self.ends_at


def validity_of(pem: bytes) -> Validity:
    """Return the validity of the first certificate in the file, the server's own. Raises: CertificateRefused."""
    certificate = certificates_in(pem)[0]
    try:
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except _UNREADABLE:
        raise CertificateRefused("has no readable dates") from None
    return Validity(begins_at=begins.timestamp(), ends_at=ends.timestamp())


def first_end(pem: bytes) -> float:
    """Return when the first certificate of the file expires, its CAs included, in Unix seconds.

    Raises: CertificateRefused.
    """
    try:
        return min(one.not_valid_after_utc.timestamp() for one in certificates_in(pem))
    except _UNREADABLE:
        raise CertificateRefused("has no readable dates") from None


def certificates_in(pem: bytes) -> Sequence[x509.Certificate]:
    """Return the certificates of a file, at least one. Raises: CertificateRefused."""
    check_whole(pem)
    try:
        return x509.load_pem_x509_certificates(pem)
    except _UNREADABLE:
        raise CertificateRefused("holds no certificate in PEM") from None


def check_whole(pem: bytes) -> None:
    """Check that TLS finds every certificate of the file, whichever library reads it. It need not be able to use them.

    Raises: CertificateRefused.
    """
    edges = _EDGE.findall(pem)
    if not edges and b"PRIVATE KEY-----" in pem:
        raise CertificateRefused("holds a private key and no certificate; are the two files swapped?")
    if not edges:
        raise CertificateRefused("holds no certificate in PEM")
    if pem.startswith(_BYTE_ORDER_MARK):
        raise CertificateRefused("begins with a byte-order mark (BOM); save it as UTF-8 without one")
    if b"-----\\n" in pem or b"-----\\r\\n" in pem:
        raise CertificateRefused(_ESCAPED)
    if edges != _EDGE_IN_PLACE.findall(pem) or edges != [b"BEGIN", b"END"] * (len(edges) // 2):
        raise CertificateRefused(
            "has a certificate that is cut off, or whose first or last line is not a line of its own; write it again"
        )


def check_key(chain: bytes, key: bytes) -> None:
    """Check that the private key (PEM) belongs to the first certificate of the chain.

    Raises: CertificateRefused; KeyOfCertificateRefused.
    """
    certificate = certificates_in(chain)[0]
    if b"PRIVATE KEY-----\\n" in key or b"PRIVATE KEY-----\\r\\n" in key:
        raise KeyOfCertificateRefused(_ESCAPED)
    if b"PRIVATE KEY-----" in key and not _KEY_IN_PLACE.search(key):
        raise KeyOfCertificateRefused("has blanks or text before its first line; remove them")
    try:
        private = load_pem_private_key(key, password=None)
    except TypeError:
        raise KeyOfCertificateRefused("is encrypted; store it unencrypted, mode 0600") from None
    except (ValueError, UnsupportedAlgorithm):
        swapped = b"CERTIFICATE-----" in key and b"PRIVATE KEY-----" not in key
        what = (
            "holds a certificate and no key; are the two files swapped?" if swapped else "holds no private key in PEM"
        )
        raise KeyOfCertificateRefused(what) from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    try:
        public = certificate.public_key().public_bytes(*form)
    except _UNREADABLE:
        raise CertificateRefused("has a public key of an unknown type") from None
    if private.public_key().public_bytes(*form) != public:
        hint = " (it is an Ed25519 key: is it the launch key?)" if isinstance(private, Ed25519PrivateKey) else ""
        raise KeyOfCertificateRefused(f"does not belong to the certificate in GATEWAY_TLS_CERT_FILE{hint}")


def alternative_names(pem: bytes) -> tuple[list[str], list[str]]:
    """Return the URIs and the DNS names (lower case, no wildcards) of the first certificate.

    Raises: CertificateRefused.
    """
    certificate = certificates_in(pem)[0]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return [], []
    dns = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    return names.get_values_for_type(x509.UniformResourceIdentifier), [name for name in dns if "*" not in name]


def missing_for_strict(certificate: x509.Certificate) -> list[str]:
    """Return what a strict verifier misses, such as Python from 3.13 on, by the names of RFC 5280.

    Source: OpenSSL, X509_V_FLAG_X509_STRICT. Raises: CertificateRefused if its extensions cannot be read.
    """
    try:
        found = {one.oid: one for one in certificate.extensions}
    except _UNREADABLE:
        raise CertificateRefused("has extensions that cannot be read") from None
    oid = ExtensionOID
    constraints = found.get(oid.BASIC_CONSTRAINTS)
    is_ca = constraints is not None and bool(getattr(constraints.value, "ca", False))
    missing = []
    if certificate.issuer != certificate.subject and oid.AUTHORITY_KEY_IDENTIFIER not in found:
        missing.append("Authority Key Identifier")
    if is_ca and oid.SUBJECT_KEY_IDENTIFIER not in found:
        missing.append("Subject Key Identifier")
    if is_ca and oid.KEY_USAGE not in found:
        missing.append("Key Usage")
    if is_ca and constraints is not None and not constraints.critical:
        missing.append("critical mark of Basic Constraints")
    names = found.get(oid.SUBJECT_ALTERNATIVE_NAME)
    if not certificate.subject.rdns and names is not None and not names.critical:
        missing.append("critical mark of Subject Alternative Name, because the subject is empty")
    return missing
