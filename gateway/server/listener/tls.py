"""The gateway's own certificate and its callers' CA, reloaded when their files change.

Only a complete and valid set is loaded: a matching pair, currently valid, and a CA. Until the files hold one, the old
set stays in use. Open connections stay as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import grpc

from gateway.config.model import AdminClientAuth, TlsFiles
from gateway.core.certificate import CertificateRefused, check_whole, first_end, validity_of
from gateway.core.secret import SecretRefused
from gateway.core.trust import as_on_every_python
from gateway.keys.sources.secret_files import FileStamp, read_secret_file, stamp_of
from gateway.resilience.clock import Clock
from gateway.server.listener.listen import ListenFailed
from gateway.telemetry.logs import log

RELOADED, REFUSED = "secret_file_reloaded", "secret_file_refused"
ADMIN_POLL_S = 2.0

_VERIFY_MODES = {
    AdminClientAuth.REQUIRED: ssl.CERT_REQUIRED,
    AdminClientAuth.METRICS: ssl.CERT_OPTIONAL,  # AdminServer asks for it where it is needed
    AdminClientAuth.NONE: ssl.CERT_NONE,
}
Stamps = tuple[FileStamp | None, ...]
UseContext = Callable[[ssl.SSLContext], Awaitable[None]]
"""Uses this context for new connections. Raises: OSError, and then the old context stays in use."""


class TlsRefused(ListenFailed):
    """The files cannot be used. The text names the setting and the reason, and shows nothing of the files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSet:
    """The bytes of all files, read together. `ends_at`: when a certificate of `server` or `client_ca` expires first."""

    key: bytes = field(repr=False)
    chain: bytes
    client_ca: bytes | None
    stamps: Stamps
    ends_at: Mapping[str, float]


def read_set(files: TlsFiles, now: float) -> TlsSet:
    """Read and verify the files. Raises: TlsRefused, also if one of them changed during the read."""
    stamps = _stamps(files)
    try:
        key = read_secret_file(files.key_file)[0].reveal()
    except SecretRefused as refused:
        raise TlsRefused(f"GATEWAY_TLS_KEY_FILE: {refused}") from None
    try:
        chain = files.cert_file.read_bytes()
        client_ca = files.client_ca_file.read_bytes() if files.client_ca_file is not None else None
        is_valid_now = validity_of(chain).holds_at(now)
    except CertificateRefused as refused:
        raise TlsRefused(f"GATEWAY_TLS_CERT_FILE: {refused}") from None
    except OSError as error:
        raise TlsRefused(_trouble(error)) from None
    try:
        if client_ca is not None:
            check_whole(client_ca)
        _verify(files)
    except CertificateRefused as refused:
        raise TlsRefused(f"GATEWAY_TLS_CLIENT_CA_FILE: {refused}") from None
    except OSError as error:  # ssl.SSLError is one
        raise TlsRefused(_trouble(error)) from None
    if not is_valid_now:
        raise TlsRefused("GATEWAY_TLS_CERT_FILE: the certificate has expired or is not valid yet")
    if _stamps(files) != stamps:
        raise TlsRefused("the GATEWAY_TLS_ files changed while they were read")
    return TlsSet(key=key, chain=chain, client_ca=client_ca, stamps=stamps, ends_at=_ends_at(chain, client_ca))


def _ends_at(chain: bytes, client_ca: bytes | None) -> dict[str, float]:
    """Leave out a file whose dates cannot be read: OpenSSL takes CAs that the other library does not read."""
    found: dict[str, float] = {}
    for name, pem in (("server", chain), ("client_ca", client_ca)):
        with contextlib.suppress(CertificateRefused):
            found |= {} if pem is None else {name: first_end(pem)}
    return found


class TlsSource:
    """The set in use. grpc's threads call `_fetch` before each handshake."""

    def __init__(self, files: TlsFiles, clock: Clock, on_event: Callable[[str], None]) -> None:
        """Read the files for the first time. Raises: TlsRefused."""
        self._files = files
        self._clock = clock
        self._on_event = on_event
        self._lock = threading.Lock()
        self._set = read_set(files, clock.now())
        self._refused: Stamps | None = None
        self._context: ssl.SSLContext | None = None
        self._context_of: Stamps | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials for a listener. They follow the files."""
        return grpc.dynamic_ssl_server_credentials(
            _for_grpc(self._set),
            self._fetch,  # type: ignore[arg-type]  # None means unchanged, which the stubs do not know
            require_client_authentication=self._files.client_ca_file is not None,
        )

    def ends_at(self) -> Mapping[str, float]:
        """Return when the first certificate of each file in use expires, in Unix seconds."""
        return self._set.ends_at

    def context(self) -> ssl.SSLContext:
        """Return the context of the present files, for HTTP/2: TLS 1.2 or newer, `h2` by ALPN."""
        with self._lock:
            self._renew()
            if self._context is None or self._context_of != self._set.stamps:
                self._load_context()
            assert self._context is not None
            return self._context

    def _load_context(self) -> None:
        """Make the context of the set. OpenSSL reads the files itself: if they change meanwhile, it is made again."""
        made = as_on_every_python(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_alpn_protocols(["h2"])
        try:
            _load(made, self._files)
        except OSError:
            if self._context is None:
                raise
            return
        self._context = made
        self._context_of = self._set.stamps if _stamps(self._files) == self._set.stamps else None

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            return _for_grpc(self._set) if self._renew() else None

    def _renew(self) -> bool:
        """Load the files if they changed; return whether that happened.

        Refused files are tried again at the next handshake, because a set can become complete later.
        """
        stamps = _stamps(self._files)
        if stamps == self._set.stamps:
            return False
        try:
            self._set = read_set(self._files, self._clock.now())
        except TlsRefused as refused:
            if stamps != self._refused:
                self._refused = stamps
                self._on_event(REFUSED)
                log().error(
                    "certificate files refused; the old ones stay in use",
                    trouble=str(refused),
                    advice="correct the GATEWAY_TLS_ files; they are read again at the next handshake",
                )
            return False
        self._refused = None
        self._on_event(RELOADED)
        log().info("certificate files reloaded")
        return True


class HandshakeTls(ssl.SSLContext):
    """A server context whose every handshake uses the files of `TlsSource` as they are then, CAs included.

    An SSLContext cannot forget a CA, so each change of the files makes a new context; this one only hands over to it.
    """

    _source: TlsSource

    def __new__(cls, source: TlsSource) -> Self:
        """Return a context over the source."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made._source = source
        return made

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """Begin a handshake with the context of the present files."""
        return self._source.context().wrap_bio(*arguments, **named)


class AdminTls:
    """TLS of an admin port that is not on loopback: the certificates that callers see, reloaded too."""

    def __init__(self, files: TlsFiles, clock: Clock, client_auth: AdminClientAuth = AdminClientAuth.METRICS) -> None:
        """Read the files. Args: `client_auth`: who must present a certificate; see AdminServer. Raises: TlsRefused."""
        self._files = files
        self._clock = clock
        self._client_auth = client_auth
        self.context, self._loaded = self._read()

    async def run(self, use: UseContext) -> None:
        """Keep the context for new connections equal to the files, until cancelled."""
        while True:
            await asyncio.sleep(ADMIN_POLL_S)
            await self.look(use)

    async def look(self, use: UseContext) -> None:
        """Load the files if they changed since they were last loaded. Unusable files are tried again at the next check.

        The listener for callers logs what is wrong with the files.
        """
        if _stamps(self._files) == self._loaded:
            return
        try:
            context, stamps = self._read()
            await use(context)
        except (TlsRefused, OSError):
            return
        self.context, self._loaded = context, stamps

    def _read(self) -> tuple[ssl.SSLContext, Stamps]:
        """Return a new context: an old one could not forget a CA that was removed. Raises: TlsRefused."""
        stamps = read_set(self._files, self._clock.now()).stamps
        context = as_on_every_python(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        try:
            _load(context, self._files)
        except OSError as error:
            raise TlsRefused(_trouble(error)) from None
        if self._files.client_ca_file is not None:
            context.verify_mode = _VERIFY_MODES[self._client_auth]
        if _stamps(self._files) != stamps:
            raise TlsRefused("the GATEWAY_TLS_ files changed while they were read")
        return context, stamps


def _for_grpc(found: TlsSet) -> grpc.ServerCertificateConfiguration:
    pair = (bytes(found.key), found.chain)  # grpc accepts no subclass of bytes, and a revealed secret is one
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=found.client_ca)


def _verify(files: TlsFiles) -> None:
    """Raises: OSError unless key and certificate match and the CA is a certificate."""
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    # Without a password here, OpenSSL would ask for one on the terminal.
    context.load_cert_chain(files.cert_file, files.key_file, password="")
    if files.client_ca_file is not None:
        context.load_verify_locations(files.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED


def _trouble(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "GATEWAY_TLS_CERT_FILE: the certificate does not belong to GATEWAY_TLS_KEY_FILE"
    if isinstance(error, ssl.SSLError):
        return "the GATEWAY_TLS_ files hold no certificate, key or CA in PEM"
    return f"a GATEWAY_TLS_ file cannot be read ({error.strerror})"


def _stamps(files: TlsFiles) -> Stamps:
    paths = (files.cert_file, files.key_file, files.client_ca_file)
    found: list[FileStamp | None] = []
    for path in paths:
        try:
            found.append(None if path is None else stamp_of(path))
        except OSError:
            found.append(None)
    return tuple(found)
