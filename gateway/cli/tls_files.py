"""The files of --ca-file, --cert-file and --key-file, checked before any connection. Never asks for a password."""

from __future__ import annotations

import ssl
from pathlib import Path

from gateway.cli.options import WrongOptions
from gateway.core.trust import as_on_every_python


def client_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    """Return how a client connects by TLS; None without files: in plaintext. Raises: WrongOptions."""
    if ca_file is None:
        if cert_file is not None or key_file is not None:
            raise WrongOptions("--cert-file and --key-file need --ca-file; give it too")
        return None
    if (cert_file is None) != (key_file is None):
        raise WrongOptions("--cert-file and --key-file: give both or neither")
    try:
        for path in (ca_file, cert_file, key_file):
            if path is not None:
                path.read_bytes()  # ssl does not say which of them is missing
    except OSError as error:
        raise WrongOptions(
            f"{error.filename}: the TLS file cannot be read ({error.strerror}); check the path and its owner"
        ) from None
    try:
        context = as_on_every_python(ssl.create_default_context(cafile=ca_file))
    except ssl.SSLError:
        raise WrongOptions(f"--ca-file: {ca_file} has no certificate; give the CA as PEM") from None
    if cert_file is not None and key_file is not None:
        _load_own(context, cert_file, key_file)
    return context


def _load_own(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    def refuse() -> str:  # without a function, OpenSSL would ask on the terminal
        raise WrongOptions(f"--key-file: {key_file} is encrypted; give the key without a password, mode 0600")

    try:
        context.load_cert_chain(cert_file, key_file, password=refuse)
    except ssl.SSLError:
        raise WrongOptions(
            f"--cert-file and --key-file: {cert_file} and {key_file} do not belong together, or are not a PEM "
            "certificate and its key; check both"
        ) from None
