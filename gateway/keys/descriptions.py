"""What may be told of a key: everything but the key. Source: API.md, KeyService; issue 8, point 3."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.core.ed25519 import VerifyingKey
from gateway.core.types import Environment, KeyId, OperatorCode


class KeyKind(enum.Enum):
    """What a key is for."""

    TENANT_HMAC = "tenant_hmac"
    ADMIN_API_KEY = "admin_api_key"
    OPERATOR = "operator"
    PLATFORM = "platform"
    CACHE_SEAL = "cache_seal"


class KeyState(enum.Enum):
    """Where a key stands in its life."""

    ANNOUNCED = "announced"
    """Known and, where it has a public half, published; used from its time on."""
    ACTIVE = "active"
    RETIRING = "retiring"
    """Replaced; what it signed or sealed is still to be believed."""
    RETIRED = "retired"
    """Over: no longer published, and its material is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDescription:
    """One version of a key, described.

    `key_id`: the fingerprint, or for secrets the owner, the kind and the version. `public_key_sha256`: empty for
    secrets. Times are Unix seconds. `announced_at`: since when it is known here; `activated_at`: since when it is, or
    from when it will be, in use; `retired_at`: when it was replaced; `ends_at`: when it is over. `owner` is empty for
    the platform key. `version`: the file's name in its folder. `note`: what a person should know, such as why a newer
    file is not used.
    """

    key_id: str
    kind: KeyKind
    algorithm: str
    state: KeyState
    activated_at: float
    owner: str = ""
    environment: Environment | None = None
    public_key_sha256: KeyId | None = None
    retired_at: float | None = None
    announced_at: float | None = None
    ends_at: float | None = None
    version: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedKey:
    """The public half of an operator key that a verifier has to know: announced, active or retiring."""

    operator_code: OperatorCode
    environment: Environment
    key: VerifyingKey
    state: KeyState
    activated_at: float
    ends_at: float | None
