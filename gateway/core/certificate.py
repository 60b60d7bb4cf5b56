"""Read the validity period of a certificate. TLS itself checks the subject and the issuer."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509


class CertificateRefused(ValueError):
    """The bytes are not a certificate. The message does not repeat them."""


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
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise CertificateRefused("holds no certificate in PEM") from None
    return Validity(
        begins_at=certificate.not_valid_before_utc.timestamp(), ends_at=certificate.not_valid_after_utc.timestamp()
    )
