"""The files of mutual TLS, and when they have changed. A renewed certificate is used without a restart."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from os import PathLike, fspath, stat

from phoenix_gateway_client.errors import TlsFilesUnusable


@dataclass(frozen=True)
class Tls:
    """Files in PEM form: the CA of the gateway's certificate, this caller's certificate chain and its private key.

    `server_name`: the name in the gateway's certificate, if it is not the host that is called.
    """

    ca_file: str | PathLike[str]
    cert_file: str | PathLike[str] | None = None
    key_file: str | PathLike[str] | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise TlsFilesUnusable("cert_file and key_file belong together: give both or neither.")

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that are given."""
        return tuple(fspath(path) for path in (self.ca_file, self.cert_file, self.key_file) if path is not None)


@dataclass(frozen=True)
class LoadedTls:
    """The content of the files at one time."""

    ca: bytes
    certificate: bytes | None
    key: bytes | None


def stamp(tls: Tls) -> tuple[object, ...]:
    """Return a value that changes when a file is replaced or rewritten. Never raises."""
    found: list[object] = []
    for path in tls.paths:
        try:
            seen = stat(path)
            found.append((seen.st_mtime_ns, seen.st_size, seen.st_ino))
        except OSError as error:
            found.append(error.errno)
    return tuple(found)


def load(tls: Tls) -> LoadedTls:
    """Read the files and check that they can be used. Raises: TlsFilesUnusable."""
    contents: list[bytes] = []
    for path in tls.paths:
        try:
            with open(path, "rb") as file:
                contents.append(file.read())
        except OSError as error:
            raise TlsFilesUnusable(
                f"{path} cannot be read ({error.strerror}). Check the path and who may read it."
            ) from None
    context(tls)
    return LoadedTls(contents[0], *(contents[1:] or (None, None)))


def context(tls: Tls) -> ssl.SSLContext:
    """Return a context with the files. Raises: TlsFilesUnusable."""
    made = ssl.create_default_context()
    made.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)  # gRPC is not strict
    try:
        made.load_verify_locations(cadata=_text(fspath(tls.ca_file)))
    except (ssl.SSLError, ValueError, OSError):
        raise TlsFilesUnusable(
            f"{fspath(tls.ca_file)} has no certificate in PEM form. Give the CA that signed the gateway's certificate."
        ) from None
    if tls.cert_file is not None and tls.key_file is not None:
        try:
            made.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except (ssl.SSLError, ValueError, OSError) as error:
            cause = "do not belong together" if "MISMATCH" in str(error) else "are not a certificate and its key in PEM"
            raise TlsFilesUnusable(
                f"{fspath(tls.cert_file)} and {fspath(tls.key_file)} {cause}. Give the certificate chain and its own, "
                "unencrypted key."
            ) from None
    made.set_alpn_protocols(["h2"])
    return made


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()
