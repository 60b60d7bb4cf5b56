"""Every way a call to the gateway can fail. `except GatewayError` catches all of them.

GatewayError
├── CallFailed           the gateway answered with an error; one subclass for each reason: reasons.py
├── DeadlineExceeded     no answer within the timeout
├── VersionMismatch      the gateway does not know the method
├── WebhookUnreadable    the web framework's request cannot be read
└── NotConnected         no call was made
    ├── GatewayUnreachable          nothing listens there, or the name is unknown
    ├── ConnectionLost              the connection broke; the call may have been made
    ├── TlsFilesUnusable            this side's certificate, key or CA cannot be used
    ├── GatewayNotTrusted           the CA did not sign the gateway's certificate, or it is expired
    ├── WrongHostName               the gateway's certificate is for another name
    ├── ClientCertificateRequired   the gateway wants a certificate
    ├── ClientCertificateRefused    the gateway refuses the certificate
    └── TlsExpected, TlsUnexpected  one side speaks TLS and the other does not
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class GatewayError(Exception):
    """A call that failed. Decide by the class, or by `reason`, never by the text, which may change."""

    reason: str = ""
    """The gateway's reason, such as `RATE_LIMITED`; empty if the failure did not come from a gateway."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        effect: str = "none",
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
        fields: Sequence[tuple[str, str]] = (),
        method: str = "",
        request_id: str = "",
    ) -> None:
        self.message = message
        self.code = code
        """The gRPC status, such as `UNAVAILABLE`."""
        self.effect = effect
        """Did Phoenix act? `none`: certainly not; `maybe`: nobody knows; `done`: it did, and the answer is lost."""
        self.retry_after = retry_after
        """Seconds to wait before the same call is repeated; None: a repeat does not help, or is not safe."""
        self.metadata = dict(metadata or {})
        """Further facts of the gateway, such as the `event_id`."""
        self.fields = tuple(fields)
        """Faulty fields of the request: path and what is wrong."""
        self.method = method
        self.request_id = request_id
        """Name it when you report the failure: the gateway's log line has the same id."""
        super().__init__(message)

    def __str__(self) -> str:
        about = ", ".join(part for part in (self.method, self.request_id and f"request {self.request_id}") if part)
        return f"{self.reason + ': ' if self.reason else ''}{self.message}{f' ({about})' if about else ''}"


class CallFailed(GatewayError):
    """The gateway answered with an error. A reason that this version does not know is this class itself."""


class DeadlineExceeded(GatewayError):
    """No answer within the timeout. Phoenix may have acted."""


class VersionMismatch(GatewayError):
    """The gateway does not know the method: it is of another major version, or older than this client."""


class WebhookUnreadable(GatewayError):
    """The web framework's request is of an unknown kind, or its body was read before."""


class NotConnected(GatewayError):
    """No usable connection. The text names the cause and what to do."""


class GatewayUnreachable(NotConnected):
    """Nothing listens at the address, or its name is unknown."""


class ConnectionLost(NotConnected):
    """The connection broke during the call. `effect` is `maybe`: repeat an event only under the same event_id."""


class TlsFilesUnusable(NotConnected):
    """The CA, certificate or key of this side cannot be read or do not belong together."""


class GatewayNotTrusted(NotConnected):
    """The CA did not sign the gateway's certificate, or the certificate is not valid now."""


class WrongHostName(NotConnected):
    """The gateway's certificate is for another name than the one called."""


class ClientCertificateRequired(NotConnected):
    """The gateway accepts only callers with a certificate."""


class ClientCertificateRefused(NotConnected):
    """The gateway does not accept the certificate."""


class TlsExpected(NotConnected):
    """The gateway speaks TLS, and this client was given no CA."""


class TlsUnexpected(NotConnected):
    """The gateway speaks no TLS, and this client expects it."""


__all__ = [
    "CallFailed",
    "ClientCertificateRefused",
    "ClientCertificateRequired",
    "ConnectionLost",
    "DeadlineExceeded",
    "GatewayError",
    "GatewayNotTrusted",
    "GatewayUnreachable",
    "NotConnected",
    "TlsExpected",
    "TlsFilesUnusable",
    "TlsUnexpected",
    "VersionMismatch",
    "WebhookUnreadable",
    "WrongHostName",
]
