"""The authorities that may issue the certificate of a host of Phoenix: the system's, and those of a file of ours."""

from __future__ import annotations

import errno
import ssl
from pathlib import Path
from typing import Any, Self

from gateway.core.certificate import CertificateRefused, check_whole
from gateway.core.trust import as_on_every_python
from gateway.telemetry.trouble import TroubleLog


def upstream_trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return the authorities that may issue an upstream's certificate: the system's, and those of `ca_file`.

    OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR in place of the system's.

    Raises: OSError if the file cannot be read, or if TLS would not find every certificate in it.
    """
    context = as_on_every_python(ssl.create_default_context())
    if ca_file is not None:
        try:
            check_whole(ca_file.read_bytes())
            context.load_verify_locations(cafile=ca_file)
        except CertificateRefused as refused:
            raise OSError(errno.EINVAL, str(refused)) from None
        except ssl.SSLError:
            raise OSError(errno.EINVAL, "has a certificate that TLS cannot read") from None
    return context


def following_trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return `upstream_trust` that follows its file: each new connection uses the authorities that it holds then.

    A file that cannot be used leaves the previous authorities in place, and is logged. Raises: OSError.
    """
    return upstream_trust(None) if ca_file is None else _FollowingTrust(ca_file)


class _FollowingTrust(ssl.SSLContext):
    """Hands each handshake over to the context of the present file: a context cannot forget a CA."""

    _ca_file: Path
    _stamp: tuple[int, ...]
    _present: ssl.SSLContext
    _log: TroubleLog

    def __new__(cls, ca_file: Path) -> Self:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made._ca_file = ca_file
        made._stamp = _stamp_of(ca_file)
        made._present = upstream_trust(ca_file)
        made._log = TroubleLog("CA of Phoenix", address=str(ca_file), advice="correct GATEWAY_UPSTREAM_CA_FILE")
        return made

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """Begin a handshake."""
        try:
            stamp = _stamp_of(self._ca_file)
            if stamp != self._stamp:
                self._present = upstream_trust(self._ca_file)
                self._stamp = stamp
                self._log.works()
        except OSError as error:
            self._log.failed(error)
        return self._present.wrap_bio(*arguments, **named)


def _stamp_of(path: Path) -> tuple[int, ...]:
    status = path.stat()  # follows links, because a mounted file is replaced by changing a link
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
