"""Searches for the secrets of a test run in files and output: raw, in hex, in base64 at any offset.

`GatewayProcess` searches the files of every gateway when it stops, and tests/integration/test_leaks.py searches
everywhere else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

SECRET_SETTINGS = (
    "INGESTION_HMAC_SECRET",
    "ADMIN_API_KEY",
    "PREDICTION_LAUNCH_KEY",
    "GATEWAY_CACHE_KEYS",
    "GATEWAY_EVIDENCE_KEY",
    "GATEWAY_DEV_TOKEN",
    "DATABASE_URL",
    "REDIS_URL",
    "OTEL_EXPORTER_OTLP_HEADERS",
)
SHORTEST = 12
"""A shorter value could occur by chance."""


class SecretScanner:
    """The secrets of one gateway's settings, in every form that is looked for."""

    def __init__(self, environ: Mapping[str, str], *, but: Iterable[str] = ()) -> None:
        """Args: `but`: settings whose secret may be where is looked, such as a key that is sent in a header."""
        left_out = set(but)
        self._forms = {
            name: frozenset(form for secret in _secrets(name, value) for form in forms(secret))
            for name, value in _values(environ).items()
            if name not in left_out
        }

    def __len__(self) -> int:
        return sum(bool(found) for found in self._forms.values())

    def found_in(self, data: bytes) -> set[str]:
        """Return the settings whose secret is in the data."""
        return {name for name, all_forms in self._forms.items() if any(form in data for form in all_forms)}

    def found_below(self, folder: Path, *, but: Iterable[Path] = ()) -> set[str]:
        """Return `setting in file` for every file below a folder that holds one."""
        left_out = {path.resolve() for path in but}
        return {
            f"{name} in {path.relative_to(folder)}"
            for path in folder.rglob("*")
            if path.is_file() and path.resolve() not in left_out
            for name in self.found_in(path.read_bytes())
        }


def forms(secret: bytes) -> set[bytes]:
    """Return a secret in all forms of a text or a dump: raw, in hex, percent-encoded, in base64 at any offset."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), quote(secret, safe="").encode()}
    for before in range(3):
        padded = b"\x00" * before + secret
        whole = len(padded) * 8 // 6  # letters that nothing behind the secret changes
        for encoded in (base64.b64encode(padded), base64.urlsafe_b64encode(padded)):
            found.add(encoded[(0, 2, 3)[before] : whole])
    return found


def _values(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secret settings, those given as files included."""
    values: dict[str, str] = {}
    for name in SECRET_SETTINGS:
        if environ.get(name):
            values[name] = environ[name]
        file = Path(environ.get(f"{name}_FILE", ""))
        if file.is_file():
            values[name] = file.read_text(errors="replace").strip()
    return values


def _secrets(name: str, value: str) -> list[bytes]:
    """Return what of a setting is secret: the password of an address, the private half of a key, else all of it."""
    if name.endswith("_URL"):
        secrets = [(urlsplit(value).password or "").encode()]
    elif name.endswith("_HEADERS"):
        secrets = [part.partition("=")[2].strip().encode() for part in value.split(",")]
    elif "PRIVATE KEY" in value:
        body = "".join(line for line in value.splitlines() if "-----" not in line)
        secrets = [body.encode(), _seed(value)]
    else:
        secrets = [part.encode() for part in value.replace(",", " ").split()]
        secrets += [decoded for part in secrets if len(decoded := _decoded(part)) >= 24]
    return [secret for secret in secrets if len(secret) >= SHORTEST]


def _seed(pem: str) -> bytes:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
        return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    except ValueError:
        return b""


def _decoded(part: bytes) -> bytes:
    try:
        return base64.b64decode(part, validate=True)
    except binascii.Error:
        return b""
