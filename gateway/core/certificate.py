"""From when until when a certificate holds. Whose it is and who signed it are TLS's own matter."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509


class CertificateRefused(ValueError):
    """The bytes hold no certificate. The text says so and repeats none of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """A span of Unix seconds, both ends in it."""

    begins_at: float
    ends_at: float

    def holds_at(self, now: float) -> bool:
        """Tell whether it holds then."""
        return self.begins_at <= now <= self.ends_at


def validity_of(pem: bytes) -> Validity:
    """Return the validity of the first certificate, which is the server's own. Raises: CertificateRefused."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise CertificateRefused("holds no certificate in PEM") from None
    return Validity(
        begins_at=certificate.not_valid_before_utc.timestamp(), ends_at=certificate.not_valid_after_utc.timestamp()
    )
