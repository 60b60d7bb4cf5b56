"""References to secrets and keys in a store, in place of values: `vault:secret/phoenix#admin_api_key`.

A reference is no secret: messages, metrics and `keys list` show it. Pure: gateway/keys reads what a reference names.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum


class Scheme(Enum):
    """What the text before the colon may be. The values are what users write."""

    VAULT = "vault"
    VAULT_DATABASE = "vault-db"
    AWS_SECRET = "aws-sm"
    GCP_SECRET = "gcp-sm"
    FILE = "file"
    EXEC = "exec"
    VAULT_TRANSIT = "vault-transit"
    AWS_KMS = "aws-kms"
    GCP_KMS = "gcp-kms"
    PKCS11 = "pkcs11"


SECRET_SCHEMES = (
    Scheme.VAULT,
    Scheme.AWS_SECRET,
    Scheme.GCP_SECRET,
    Scheme.FILE,
    Scheme.EXEC,
)
"""Where a secret may be read from."""
SIGNER_SCHEMES = (Scheme.VAULT_TRANSIT, Scheme.AWS_KMS, Scheme.GCP_KMS, Scheme.PKCS11)
"""Where a signing key may stay: the gateway sends what is to be signed."""

_EXAMPLES = {
    Scheme.VAULT: "vault:secret/phoenix#admin_api_key",
    Scheme.VAULT_DATABASE: "vault-db:database/creds/phoenix#postgresql://db.internal:5432/phoenix",
    Scheme.AWS_SECRET: "aws-sm:phoenix/admin#api_key",
    Scheme.GCP_SECRET: "gcp-sm:projects/PROJECT/secrets/NAME",
    Scheme.FILE: "file:/run/secrets/admin_api_key",
    Scheme.EXEC: "exec:/usr/local/bin/print-secret admin-api-key",
    Scheme.VAULT_TRANSIT: "vault-transit:transit/phoenix-launch",
    Scheme.AWS_KMS: "aws-kms:alias/phoenix-launch",
    Scheme.GCP_KMS: "gcp-kms:projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
    Scheme.PKCS11: "pkcs11:token=phoenix;object=launch",
}
_WITH_FIELD = {Scheme.VAULT: True, Scheme.VAULT_DATABASE: True, Scheme.AWS_SECRET: False, Scheme.GCP_SECRET: False}
"""Schemes whose path may be followed by `#` and a field; True: must be. In others `#` belongs to the path."""
_MAX_CHARS = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_GCP_SECRET = re.compile(r"projects/[^/]+(/locations/[^/]+)?/secrets/[A-Za-z0-9_-]{1,255}")


class ReferenceRefused(ValueError):
    """The text is no usable reference. `problem` says what is wrong, `remedy` what to write."""

    def __init__(self, problem: str, remedy: str) -> None:
        """Join both for a message."""
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}; {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """The parts of a reference. `field`: what follows `#`; "" if nothing does."""

    scheme: Scheme
    path: str
    field: str = ""

    def __str__(self) -> str:
        """Write it as the user does."""
        return f"{self.scheme.value}:{self.path}" + (f"#{self.field}" if self.field else "")


def parse_reference(text: str, allowed: Collection[Scheme] = SECRET_SCHEMES) -> SecretReference:
    """Return the parts of a reference. Args: `allowed`: what this setting takes. Raises: ReferenceRefused."""
    name, colon, rest = text.strip().partition(":")
    scheme = next((one for one in allowed if one.value == name), None)
    if not colon or scheme is None:
        raise ReferenceRefused(
            "is no reference that this setting takes",
            f"begin it with {', '.join(f'{one.value}:' for one in allowed)}, such as {_EXAMPLES[next(iter(allowed))]}",
        )
    such_as = f"write it as {_EXAMPLES[scheme]}"
    if len(rest) > _MAX_CHARS or _CONTROL.search(rest):
        raise ReferenceRefused(f"is longer than {_MAX_CHARS} characters or contains a control character", such_as)
    path, field = rest, ""
    if scheme in _WITH_FIELD:
        path, _, field = rest.partition("#")
        if not field and (_WITH_FIELD[scheme] or rest.endswith("#")):
            what = "the database URL" if scheme is Scheme.VAULT_DATABASE else "the field"
            raise ReferenceRefused(f"names no field: {what} follows the path after #", such_as)
    if not path.strip("/ "):
        raise ReferenceRefused("names no path", such_as)
    if scheme in (Scheme.VAULT, Scheme.VAULT_DATABASE):
        _check_vault_path(path, such_as)
    if scheme is Scheme.GCP_SECRET and not _GCP_SECRET.fullmatch(path):
        raise ReferenceRefused("is not the resource name of a secret (without its versions)", such_as)
    return SecretReference(scheme=scheme, path=path, field=field)


def _check_vault_path(path: str, such_as: str) -> None:
    parts = path.split("/")
    if len(parts) < 2 or any(part in ("", ".", "..") for part in parts) or any(c in path for c in "?%\\ "):
        raise ReferenceRefused("is not the path of a mount and a secret, such as secret/phoenix", such_as)
    if parts[1] in ("data", "metadata") and len(parts) > 2 and parts[0] in ("secret", "kv"):
        short = "/".join((parts[0], *parts[2:]))
        raise ReferenceRefused(f"contains {parts[1]}/, which the gateway adds where KV v2 needs it", f"write {short}")
